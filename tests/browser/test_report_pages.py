"""The report reads alike on a laptop and on a phone: the same figures, whole pictures, nothing beyond the edge."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from flows.artifacts import figure_text
from flows.run_record import RunRecord
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.report.page import write_report
from flows.stages.sample.sampling import sample
from tests.conftest import TinyRun, revised

pytestmark = pytest.mark.browser

NAME = "digits-train.learning_rate=0.0002,sample.sampler=ddim,a-long-name-1a2b3c4d"
LAPTOP, PHONE = (1280, 800), (390, 844)
Opened = Callable[[tuple[int, int]], Page]


@pytest.fixture
def report(tiny_run: TinyRun) -> Path:
    """The report of a run that has a run with other sampler steps beside it."""
    context = tiny_run.context
    samples = sample(revised(tiny_run.config.sample, {"num_steps": 0}), tiny_run.snapshot, context)
    figures = evaluate(tiny_run.config.evaluate, tiny_run.dataset, tiny_run.snapshot, samples, context)
    other = replace(tiny_run.finished, samples=samples, figures=figures)
    RunRecord(name="all-steps-5e6f7a8b", finished=other).write(tiny_run.store)
    return tiny_run.root / write_report(NAME, tiny_run.store, tiny_run.finished, {}) / "report.html"


@pytest.fixture
def opened(chromium: Browser, report: Path, screenshots: Path) -> Iterator[Opened]:
    """Open the report in a window of a size; whatever the browser complains of fails the test."""
    pages: list[Page] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def open_page(size: tuple[int, int]) -> Page:
        page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
        pages.append(page)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url[:80]))
        page.goto(report.as_uri())
        page.screenshot(path=screenshots / f"report-{size[0]}.png", full_page=True)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_nothing_lies_beyond_the_edge(opened: Opened, size: tuple[int, int]) -> None:
    page = opened(size)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        beyond = page.evaluate(
            "[...document.body.querySelectorAll('*')].filter(part => !part.closest('.box') && "
            "part.getBoundingClientRect().right > innerWidth + 1).map(part => part.outerHTML.slice(0, 80))"
        )
        assert beyond == []
        unfold(page)


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_every_picture_is_drawn_and_scaled(opened: Opened, report: Path, size: tuple[int, int]) -> None:
    page = opened(size)
    assert page.locator("img.pixels").count() == 4, "samples, nearest images, predictions, the strip along training"
    plots = {plot.name for plot in (report.parent / "plots").glob("*.png")}
    assert {"loss.png", "held_out_loss.png", "rate_distortion.png"} < plots
    assert page.locator("img.plot").count() == len(plots)
    for kind, least in (("plot", 300), ("pixels", 52)):  # a strip is 52 pixels wide per point
        sizes = page.evaluate(
            f"[...document.querySelectorAll('img.{kind}')]"
            ".map(one => [one.naturalWidth, one.naturalHeight, one.width, one.height])"
        )
        for natural_width, natural_height, width, height in sizes:
            assert min(natural_width, natural_height) > 0
            assert least <= width <= size[0]
            assert height / width == pytest.approx(natural_height / natural_width, rel=0.02)


def test_both_widths_show_the_same_figures(tiny_run: TinyRun, opened: Opened) -> None:
    texts = []
    for size in (LAPTOP, PHONE):
        page = opened(size)
        unfold(page)
        for figure in tiny_run.figures.figures:
            if figure.headline:
                row = page.locator(".headline tr").filter(has=page.get_by_text(figure.label, exact=True))
                assert row.is_visible()
                assert figure_text(figure) in row.inner_text()
        texts.append("".join(page.inner_text("body").split()))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_text_is_large_enough_to_read(opened: Opened, size: tuple[int, int]) -> None:
    page = opened(size)
    unfold(page)
    smallest = page.evaluate(
        "Math.min(...[...document.body.querySelectorAll('p, td, th, a, summary, code, h1, h2')]"
        ".map(part => parseFloat(getComputedStyle(part).fontSize)))"
    )
    assert smallest >= 12


def test_the_numbers_of_a_plot_can_be_taken_along(opened: Opened, report: Path) -> None:
    page = opened(PHONE)
    with page.expect_download() as started:
        page.get_by_role("link", name="sampler_steps.csv").click()
    download = started.value
    assert download.suggested_filename == "sampler_steps.csv"
    assert Path(download.path()).read_bytes() == (report.parent / "plots/sampler_steps.csv").read_bytes()
