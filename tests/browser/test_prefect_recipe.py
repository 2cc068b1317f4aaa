"""The form of a recipe of the user: filled with its settings, and a run that changes one of them."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from playwright.sync_api import Page

from flows.commands.serve import registered
from flows.recipe.form import changed
from flows.recipe.served import own_recipe
from infra.services.prefect.api import prefect_api
from tests.browser.conftest import Shoot
from tests.browser.prefect_pages import field, fill
from tests.e2e.serving import Server

pytestmark = pytest.mark.browser

SETTINGS = ("train.images=12345", "train.channel_mults=[1, 2]", "sample.sampler=ddim", "train.random_flip=false")
OURS = "Settings of this recipe"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the form on a server of our own, which nobody works for."""
    folder = tmp_path_factory.mktemp("recipe")
    with prefect_api(str(folder), say=print, serve=True) as api:
        recipe = own_recipe("digits", None, SETTINGS, "mine")
        # Playwright keeps an event loop in this thread after the tests of another module.
        with ThreadPoolExecutor(1) as thread:
            (served,) = thread.submit(copy_context().run, registered, str(folder), [recipe]).result()
        yield f"{api.ui}|{served.number}"


def test_its_form_is_filled_and_a_run_may_change_one_setting(page: Page, address: str, shoot: Shoot) -> None:
    url, _, number = address.partition("|")
    for pages in ("/v2", ""):
        page.set_viewport_size({"width": 1400, "height": 2600})
        page.goto(f"{url}{pages}/deployments/deployment/{number}/run")
        page.get_by_text(OURS).first.wait_for()
        shoot(f"prefect-recipe-form{pages.replace('/', '-')}")
    fill(field(page, OURS), "Images to train on, repeats counted", "77")
    with page.expect_response(re.compile("/create_flow_run$")) as reply:
        page.get_by_role("button", name="Submit").click()
    assert reply.value.ok, reply.value.text()
    parameters = Server(f"{url}/api").run(reply.value.json()["id"])["parameters"]
    recipe = {"images": 77, "channel_mults": [1, 2], "random_flip": False}
    assert parameters["recipe"] == {"train": recipe, "sample": {"sampler": "ddim"}}
    config, run = changed(parameters)
    assert (config.train.images, config.sample.sampler, run.name) == (77, "ddim", "mine")
