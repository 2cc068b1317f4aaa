"""Prefect's pages of a served root, gone through as a user does."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page

from flows.recipe.presets.table import preset
from tests.browser.conftest import Shoot
from tests.browser.prefect_pages import choose, confirm, field, fill, titles
from tests.browser.served import Served

pytestmark = pytest.mark.browser

# Start-up of a run, Ray's included, on a machine that others use too.
START_S = 300
# From a click until the run's processes are gone: eight seconds on two cores that others use a little.
GONE_S = 20
LEAD = [
    "Name of the run",
    "Root of all outputs",
    "Last stage",
    "Images to read",
    "Image size (pixels)",
    "Images to train on, repeats counted",
    "Batch size (images)",
    "Learning rate",
    "Width of the network (channels)",
    "Condition on classes",
    "Workers",
    "Images to draw",
    "Sampler",
    "Steps of sampling",
    "Held-out images for the likelihood",
    "Recipe",
]
GROUPS = [f"More settings: {name}" for name in ("prepare", "train", "sample", "evaluate", "run")]
FILLED = {
    "Images to train on, repeats counted": "1280",
    "Batch size (images)": "64",
    "Width of the network (channels)": "8",
    "Images to draw": "24",
    "Steps of sampling": "5",
    "Held-out images for the likelihood": "16",
}
FILLED_PARAMETERS = {
    "images": 1280,
    "batch_size": 64,
    "base_channels": 8,
    "samples": 24,
    "sampling_steps": 5,
    "bound_images": 16,
    "train": {"num_timesteps": 20, "beta_end": 0.3},
    "evaluate": {"extractor": "pixels"},
}
CHANGED = {
    "train": {"batch_size": 64, "base_channels": 8, "num_timesteps": 20, "beta_end": 0.3},
    "sample": {"num_steps": 5},
    "evaluate": {"bpd_images": 16, "extractor": "pixels"},
}
# Trains for longer than any test waits; suspended, it keeps the step in hand.
LONG = {
    "images": 2_000_000,
    "base_channels": 8,
    "batch_size": 64,
    "sampling_steps": 5,
    "train": {"num_timesteps": 20, "beta_end": 0.3, "norm_groups": 4, "threads": 1},
}


def test_form_leads_with_what_people_change(page: Page, served: Served, shoot: Shoot) -> None:
    for pages in ("", "/v2"):
        page.set_viewport_size({"width": 1400, "height": 2600})
        page.goto(f"{served.url}{pages}/deployments/deployment/{served.deployment()['id']}/run")
        page.get_by_text(re.compile(f"^{GROUPS[-1]}")).wait_for()
        shoot(f"prefect-form{pages.replace('/', '-')}")
        page.set_viewport_size({"width": 1400, "height": 1100})
        shown = titles(page)
        assert shown[: len(LEAD) + 1] == [*LEAD, GROUPS[0]]
        assert [title for title in shown if title.startswith("More settings")] == GROUPS


@pytest.fixture(scope="module")
def filled(page: Page, served: Served) -> dict[str, Any]:
    """A run started by the form with some of its fields filled in."""
    page.goto(f"{served.url}/deployments/deployment/{served.deployment()['id']}/run")
    for title, value in FILLED.items():
        fill(page, title, value)
    train, evaluate = (field(page, f"More settings: {name}") for name in ("train", "evaluate"))
    fill(train, "Timesteps T", "20")
    fill(train, "Beta end", "0.3")
    choose(page, field(evaluate, "Extractor").locator("button.p-select-button__control"), "pixels")
    with page.expect_response(re.compile("/create_flow_run$")) as reply:
        page.get_by_role("button", name="Submit").click()
    return reply.value.json()


@pytest.fixture(scope="module")
def completed(filled: dict[str, Any], served: Served) -> dict[str, Any]:
    """The same run when it is through."""
    served.await_state(filled["id"], "Completed", START_S)
    return served.run(filled["id"])


def test_only_what_is_filled_in_is_stored(filled: dict[str, Any], served: Served) -> None:
    deployment = {"preset": "digits", "root": str(served.root)}
    assert served.run(filled["id"])["parameters"] == deployment | FILLED_PARAMETERS


def test_an_empty_field_means_the_recipes_value(completed: dict[str, Any], served: Served) -> None:
    recipe = preset("digits").model_dump(mode="json")
    for stage in ("prepare", "train", "sample", "evaluate"):
        # The points of training are sealed too.
        (manifest,) = served.root.glob(f"{stage}/*/manifests/{'images-1280' if stage == 'train' else '*'}.json")
        settings = json.loads(manifest.read_text())["facts"]["settings"]
        expected = recipe[stage] | CHANGED.get(stage, {})
        assert settings == {name: expected[name] for name in settings} | {
            name: value for name, value in settings.items() if expected[name] == "auto"
        }
    assert [path.stem for path in served.root.glob("sample/*/manifests/*")] == ["count-24"]


def test_the_runs_page_tells_about_the_run(page: Page, served: Served, completed: dict[str, Any], shoot: Shoot) -> None:
    name = completed["name"]
    assert re.fullmatch(r"digits-train\.\S+,\+\d+-[0-9a-f]{8}", name)
    assert (served.root / "reports" / name / "report.html").is_file()
    page.goto(f"{served.url}/runs/flow-run/{completed['id']}")
    page.get_by_text(name).first.wait_for()
    page.get_by_text("Held-out").or_(page.get_by_text("held-out images")).first.wait_for()
    shoot("prefect-run")
    shown = " ".join(page.inner_text("body").split())
    said = [" ".join(line.split()) for line in served.serving.text().splitlines() if "digest" in line]
    assert len(said) == 4
    for line in said:
        stage, _, rest = line.partition(" ")
        assert f"{stage}: {rest}" in shown
    for row in ("fd_pixels", "bits/dim, fixed large", "upper bound on -log p", "report.html"):
        assert row in shown


def test_the_result_has_table_picture_and_links(
    page: Page, served: Served, completed: dict[str, Any], shoot: Shoot
) -> None:
    page.goto(f"{served.url}/runs/flow-run/{completed['id']}")
    page.get_by_text("Artifacts", exact=True).click()
    page.locator("a[href*='/artifacts/']").first.wait_for()
    shoot("prefect-artifacts")
    page.get_by_role("link", name="result").first.click()
    picture = page.locator("img[alt=samples]")
    picture.wait_for()
    shoot("prefect-result")
    assert picture.evaluate("image => image.naturalWidth") > 0
    rows = [" ".join(row.split()) for row in page.locator("table tr").all_inner_texts()]
    assert any(re.match(r"fd_pixels [\d.,]+ Fréchet distance of 24 samples", row) for row in rows)
    assert sum(row.startswith("bits/dim, ") for row in rows) == 2
    mlflow = page.locator("a[href*='/#/experiments/']").get_attribute("href")
    assert str(mlflow).endswith("runs?workflowType=machine_learning")
    assert str(served.root / "reports" / completed["name"] / "report.html") in page.inner_text("body")


def test_a_schedule_from_the_dialog_runs_by_itself(page: Page, served: Served, shoot: Shoot) -> None:
    deployment = served.deployment()["id"]
    page.goto(f"{served.url}/deployments/deployment/{deployment}")
    page.get_by_role("button", name="Schedule", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[type=number]").fill("1")
    choose(page, dialog.get_by_role("button", name="Select parameters"), "images")
    fill(dialog, "Images to train on, repeats counted", "640")
    shoot("prefect-schedule-dialog")
    with page.expect_response(re.compile("/schedules$")) as reply:
        dialog.get_by_role("button", name="Save").click()
    assert reply.value.ok, (reply.value.status, reply.value.text(), served.serving.text())
    page.get_by_text("Every 1 minute").or_(page.get_by_text("Every minute")).first.wait_for()
    shoot("prefect-schedule")
    (schedule,) = served.deployment()["schedules"]
    assert (schedule["parameters"], schedule["active"]) == ({"images": 640}, True)

    def started() -> list[dict[str, Any]]:
        runs = served.post("/flow_runs/filter", {})
        return [run for run in runs if run["auto_scheduled"] and run["state_name"] == "Running"]

    run = served.until(started, START_S)[0]
    served.post(f"/deployments/{deployment}/schedules/{schedule['id']}", None, "DELETE")
    served.until(lambda: served.run(run["id"])["name"].startswith("digits-train.images=640-"), START_S)
    page.goto(f"{served.url}/runs/flow-run/{run['id']}")
    page.get_by_text("digits-train.images=640-").first.wait_for()
    shoot("prefect-scheduled-run")
    served.set_state(run["id"], "CANCELLING", "Cancelling")
    served.await_state(run["id"], "Cancelled", 60)
    assert "Crashed" not in served.history(run["id"])
    assert {state for _, state in served.attempts(run["id"])} <= {"Cached", "Cancelled", "Completed"}


def test_suspend_resume_and_cancel_from_the_page(page: Page, served: Served, shoot: Shoot) -> None:
    run = served.start(LONG)
    served.until(lambda: served.progress(run, "train") > 0, START_S)
    before = served.workers()
    assert before
    page.goto(f"{served.url}/runs/flow-run/{run}")
    shoot("prefect-training")
    confirm(page, "Suspend")
    served.until(lambda: not served.workers(), GONE_S)
    served.await_state(run, "Suspended", GONE_S)
    page.get_by_text("Suspended").first.wait_for()
    shoot("prefect-suspended")
    confirm(page, "Resume")
    served.until(lambda: any("resumed at" in line for line in served.log(run)), START_S)
    shoot("prefect-resumed")
    after = served.workers()
    assert after
    assert not after & before
    page.reload()
    confirm(page, "Cancel")
    served.await_state(run, "Cancelled", GONE_S)
    assert not served.workers()
    assert {state for name, state in served.attempts(run) if name == "train"} == {"Cancelled"}
    assert "Crashed" not in served.history(run)
    page.reload()
    page.get_by_text("Cancelled").first.wait_for()
    shoot("prefect-cancelled")
