"""MLflow's pages of three runs that differ in their learning rate, gone through as a user does."""

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Locator, Page
from scipy.ndimage import label

from tests.browser.conftest import Shoot
from tests.e2e.processes import Command, settings
from tests.servers import free_ports
from tests.tiny import TINY

pytestmark = pytest.mark.browser

RATES = ("0.0005", "0.002", "0.008")
METRIC = "eval/bits_per_dim_fixed_large"
PARAMETER = "train.learning_rate"


@dataclass(frozen=True)
class Tracked:
    """Three runs, and the page that the last one printed, served on a free port."""

    names: list[str]
    page: str


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    folder = tmp_path_factory.mktemp("tracked")
    said = [_run(folder, RATES[0])]
    (port,) = free_ports(1)
    command = shlex.split(_found(r"^served by +(mlflow ui .*)$", said[0]))
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port), "--workers", "1"],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        said += [_run(folder, rate) for rate in RATES[1:]]
        _await(f"http://127.0.0.1:{port}/health", folder / "mlflow.log")
        page = _found(r"^MLflow +(http\S+)$", said[-1]).replace(":5000", f":{port}")
        yield Tracked(names=[_found(r"^ +run (\S+)$", text) for text in said], page=page)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _run(folder: Path, rate: str) -> str:
    arguments = ["run", "digits", *settings(*TINY, f"{PARAMETER}={rate}"), "--in-process"]
    run = Command([*arguments, "--root", str(folder / "root")], folder / f"{rate}.log")
    assert run.wait() == 0, run.text()
    return run.text()


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, f"no {pattern} in\n{text}"
    return found[1].strip()


def _await(url: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


def test_the_printed_link_lists_the_runs(page: Page, tracked: Tracked, shoot: Shoot) -> None:
    page.goto(tracked.page)
    for name in tracked.names:
        page.get_by_role("link", name=name).first.wait_for()
    shoot("mlflow-runs")


def test_bits_per_dim_against_the_learning_rate(page: Page, tracked: Tracked, shoot: Shoot) -> None:
    page.goto(tracked.page)
    for name in tracked.names:
        page.get_by_role("row").filter(has=page.get_by_role("link", name=name)).get_by_role("checkbox").first.check()
    shoot("mlflow-selected")
    page.get_by_role("button", name="Compare").first.click()
    row = page.locator("tr").filter(has=page.get_by_text(PARAMETER, exact=True))
    assert sorted(row.first.inner_text().split()) == sorted([PARAMETER, *RATES])
    page.get_by_role("tab", name="Scatter Plot").click()
    for axis, what in (("x", PARAMETER), ("y", METRIC)):
        page.locator(f"#{axis}-axis-selector").click()
        page.get_by_role("option", name=what, exact=True).click()
    page.locator(".xtitle").get_by_text(PARAMETER).wait_for()
    page.locator(".ytitle").get_by_text(METRIC).wait_for()
    shoot("mlflow-compare")
    (plotted,) = page.locator(".js-plotly-plot").evaluate_all("plots => plots.map(plot => plot.data[0])")
    assert sorted(plotted["x"], key=float) == list(RATES)
    assert len(set(plotted["y"])) == len(RATES)
    # The points are drawn on a canvas, so they are looked for in the picture.
    picture = page.locator(".js-plotly-plot .main-svg").first.screenshot()
    assert _points(picture) == len(RATES)


def _points(picture: bytes) -> int:
    """Count the spots of MLflow's red in a picture that is grey otherwise."""
    red, green, _ = np.moveaxis(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int), -1, 0)
    return int(label(red - green > 60)[1])


def test_the_report_is_shown_as_a_page(page: Page, tracked: Tracked, shoot: Shoot) -> None:
    """MLflow shows HTML in a frame that may load nothing else, so the page must hold its pictures itself."""
    _open_run(page, tracked, "Artifacts")
    page.get_by_text("report.html", exact=True).first.click()
    report = page.frame_locator("iframe.mlflow-html-iframe")
    report.get_by_role("heading", name=tracked.names[0]).first.wait_for()
    shoot("mlflow-report")
    widths = report.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert widths
    assert all(widths)


def test_the_card_is_shown_as_a_page(page: Page, tracked: Tracked, shoot: Shoot) -> None:
    """That of the data set, a file of the stage's own run."""
    server, _, experiment = tracked.page.partition("/#/experiments/")
    number = re.match(r"\d+", experiment)
    assert number
    (run,) = MlflowClient(server).search_runs([number[0]], "tags.`ddpm.stage` = 'prepare'", max_results=1)
    page.goto(f"{server}/#/experiments/{number[0]}/runs/{run.info.run_id}/artifacts")
    page.get_by_text("card.html", exact=True).first.click()
    card = page.frame_locator("iframe.mlflow-html-iframe")
    card.get_by_role("heading").first.wait_for()
    shoot("mlflow-card")
    widths = card.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert all(widths)
    assert "1,576" in card.locator("body").inner_text(), "the number of training images"


def test_the_grids_along_training_are_beside_the_curves(page: Page, tracked: Tracked, shoot: Shoot) -> None:
    _open_run(page, tracked, "Model metrics")
    page.get_by_text("cost/evaluate").first.wait_for()
    _scroll_to(page, page.get_by_text("held_out_loss"))
    picture = page.locator("img[src*='train~samples'], img[src*='train%7Esamples']")
    _scroll_to(page, picture)
    picture = picture.first
    shoot("mlflow-grids")
    assert picture.evaluate("image => image.naturalWidth") > 0


def _scroll_to(page: Page, what: Locator) -> None:
    """Turn the wheel until something is there; MLflow makes charts as they come into view."""
    page.mouse.move(500, 700)
    for _ in range(60):
        if what.count():
            break
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(300)
    what.first.scroll_into_view_if_needed()


def _open_run(page: Page, tracked: Tracked, tab: str) -> None:
    page.goto(tracked.page)
    page.get_by_role("link", name=tracked.names[0]).first.click()
    page.get_by_role("tab", name=tab).click()
