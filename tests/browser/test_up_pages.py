"""The pages of `ddpm up`, and the doctor's lines beside them, as a user sees them."""

import html
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Shoot
from tests.e2e.processes import Command
from tests.servers import free_ports

pytestmark = pytest.mark.browser

# As wide as a page of docs shows it without making the letters small; a line that goes on is set in.
_TERMINAL = (
    "<body style='background:#1b1b1b;color:#ddd;font:15px monospace;padding:0'>"
    "<main style='padding:20px;width:1100px'>{}</main></body>"
)
_LINE = "<div style='white-space:pre-wrap;padding-left:20ch;text-indent:-20ch'>{}</div>"
_ABOVE_THE_FOLD = {"x": 0, "y": 0, "width": 1400, "height": 680}
_OPTIONS = ("--port", "--mlflow-port", "--ray-port", "--dashboard-port")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Command, Path]]:
    """`ddpm up` on ports of its own, and its root."""
    folder = tmp_path_factory.mktemp("up")
    ports = [f"{name}={port}" for name, port in zip(_OPTIONS, free_ports(4), strict=True)]
    running = Command(["up", "--root", str(folder / "root"), *ports], folder / "up.log")
    try:
        running.await_that(lambda: "stop with Ctrl-C" in running.text(), 180)
        yield running, folder / "root"
    finally:
        running.process.send_signal(signal.SIGINT)
        running.wait(90)


def variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))


def test_prefect_lists_the_deployments(up: tuple[Command, Path], page: Page, shoot: Shoot, screenshots: Path) -> None:
    page.goto(f"{variables(up[0].text())['PREFECT_API_URL'].removesuffix('/api')}/deployments")
    page.get_by_text("digits", exact=True).first.wait_for()
    shoot("up-prefect")
    page.screenshot(path=screenshots / "up.png", clip=_ABOVE_THE_FOLD)


def test_mlflow_shows_its_experiments(up: tuple[Command, Path], page: Page, shoot: Shoot) -> None:
    page.goto(f"{variables(up[0].text())['MLFLOW_TRACKING_URI']}/#/experiments")
    page.get_by_text("Default", exact=True).first.wait_for()
    shoot("up-mlflow")


def test_the_doctor_beside_it(up: tuple[Command, Path], page: Page, screenshots: Path) -> None:
    running, root = up
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "doctor", "--root", str(root)],
        env=os.environ | variables(running.text()),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout
    # A reader's places instead of this test's.
    places = {
        str(root): "/data/runs",
        os.environ["XDG_CACHE_HOME"]: "~/.cache",
        os.environ["XDG_STATE_HOME"]: "~/.state",
    }
    text = f"$ ddpm doctor\n{done.stdout}"
    for place, name in (places | {sys.prefix: "~/ddpm-flows/.venv"}).items():
        text = text.replace(place, name)
    page.set_content(_TERMINAL.format("".join(_LINE.format(html.escape(line)) for line in text.splitlines())))
    assert "nothing wrong" in page.inner_text("main")
    page.locator("main").screenshot(path=screenshots / "doctor.png")
