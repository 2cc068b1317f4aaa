"""Fixtures of the tests in a browser: Chromium, a page, a folder of screenshots, and `ddpm serve`."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.served import Served
from tests.e2e.processes import Command
from tests.servers import free_ports

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Without a sandbox, since root has none; without what Chromium asks of its maker's servers.
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WINDOW = {"width": 1400, "height": 1100}
_PAGE_LIMIT_MS = 45_000
# What is drawn, such as the timeline of a run, moves to its place.
_SETTLE_MS = 1500
_OTHER_SERVERS = ("RAY_ADDRESS", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DDPM_ROOT")

Shoot = Callable[[str], None]


def _chromium() -> str:
    own = os.environ.get("DDPM_CHROMIUM")
    found = next(filter(None, map(shutil.which, [own] if own else _NAMES)), None)
    if found is None:
        looked = own or ", ".join(_NAMES)
        pytest.fail(
            f"no Chromium ({looked}): apt-get install chromium, or set DDPM_CHROMIUM to its path", pytrace=False
        )
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    path = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    """One tab for a module, with the size of a laptop's window."""
    page = chromium.new_page(viewport=_WINDOW)
    page.set_default_timeout(_PAGE_LIMIT_MS)
    yield page
    page.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of screenshots."""
    folder = os.environ.get("DDPM_SCREENSHOTS")
    if not folder:
        return tmp_path_factory.mktemp("screenshots")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture
def shoot(page: Page, screenshots: Path, request: pytest.FixtureRequest) -> Iterator[Shoot]:
    """Take a screenshot of the page, named by what it shows; another is taken at the end of the test."""

    def take(name: str) -> None:
        page.wait_for_timeout(_SETTLE_MS)
        page.screenshot(path=screenshots / f"{name}.png")

    yield take
    take(f"end-of-{request.node.name}")


@pytest.fixture(scope="session", autouse=True)
def _no_other_servers() -> Iterator[None]:
    """Fixtures of a module start before those of a test, and must not lead to the user's servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _OTHER_SERVERS:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`ddpm serve` on a port of its own."""
    folder = tmp_path_factory.mktemp("served")
    (port,) = free_ports(1)
    serving = Command(["serve", "--root", str(folder / "root"), "--port", str(port)], folder / "serve.log")
    try:
        serving.await_that(lambda: "deployments digits" in serving.text(), 180)
        yield Served(url=f"http://127.0.0.1:{port}", root=folder / "root", serving=serving)
    finally:
        serving.process.send_signal(signal.SIGINT)
        serving.wait(90)
