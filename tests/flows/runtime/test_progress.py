"""Progress: a bar on a terminal, a line a minute elsewhere, and a UI that hears now and then and may fail."""

import logging
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from flows.runtime.progress import StageProgress
from flows.stage import Progress


class Clock:
    """Goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def console(*, terminal: bool, width: int = 100) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=width, legacy_windows=False)


def shown(on: Console) -> str:
    assert isinstance(on.file, StringIO)
    return on.file.getvalue()


def lines(on: Console) -> list[str]:
    return shown(on).splitlines()


def training(done: int, **more: Any) -> Progress:
    return Progress(**({"total": 89_600, "done": done} | more))


class TestWithoutATerminal:
    def test_a_line_at_once_and_one_a_minute(self, clock: Clock) -> None:
        target, logged = console(terminal=False), []
        with StageProgress(target, None, logged.append, clock=clock) as progress:
            progress("train", training(0, phase="starting Ray"))
            assert lines(target) == ["    train 0 of 89,600 images: starting Ray"]
            for _ in range(239):
                clock.now += 0.5
                done = int((clock.now - 1000) * 560)
                progress("train", training(done, rate=560.2, loss=0.3412))
        assert lines(target)[1:] == ["    train 33,600 of 89,600 images, 560 images/s, loss 0.34, 1 min 40 s left"]
        assert logged == [line.strip() for line in lines(target)]

    @pytest.mark.parametrize(("share", "says"), [(0.05, ""), (0.124, ", 12% waiting for data"), (None, "")])
    def test_a_run_short_of_data_says_so(self, clock: Clock, share: float | None, says: str) -> None:
        target = console(terminal=False)
        with StageProgress(target, None, clock=clock) as progress:
            progress("train", training(33_600, rate=560.2, loss=0.3412, data_share=share))
        assert f"loss 0.34{says}, 1 min 40 s left" in shown(target)

    def test_a_resumed_stage_says_so_at_once(self, clock: Clock) -> None:
        target = console(terminal=False)
        with StageProgress(target, None, clock=clock) as progress:
            progress("train", training(19_200, start=19_200, kept=19_200, phase="starting Ray"))
            progress("train", training(19_200, start=19_200, kept=19_200, phase="loading the data"))
        assert lines(target) == ["    train resumed at 19,200 of 89,600 images"]

    def test_each_stage_has_its_lines_and_its_end(self, clock: Clock) -> None:
        target = console(terminal=False)
        with StageProgress(target, None, clock=clock) as progress:
            progress("sample", Progress(done=0, total=64))
            progress("sample", Progress(done=64, total=64))
            progress.finished("sample", "64 images; sealed after 3 s; digest abc")
            progress("evaluate", Progress(done=1, total=12, unit="units", start=1))
        assert lines(target) == [
            "   sample 0 of 64 images",
            "   sample 64 images; sealed after 3 s; digest abc",
            " evaluate resumed at 1 of 12 units",
        ]

    @pytest.mark.parametrize(("kept", "says"), [(12_800, "12,800 are kept"), (0, "none are kept")])
    def test_a_stopped_stage_says_what_is_kept(self, clock: Clock, kept: int, says: str) -> None:
        target, logged = console(terminal=False), []
        with StageProgress(target, None, logged.append, clock=clock) as progress:
            progress("train", training(12_813, kept=kept))
            progress.stopped("train")
            progress.stopped("sample")
        assert lines(target)[1:] == [f"    train stopped at 12,813 of 89,600 images; {says}"]
        assert logged[1:] == [f"train stopped at 12,813 of 89,600 images; {says}"]

    def test_the_next_attempt_begins_with_a_line(self, clock: Clock) -> None:
        target = console(terminal=False)
        with StageProgress(target, None, clock=clock) as progress:
            progress("train", training(640, kept=320))
            progress("train", training(320, start=320, kept=320, phase="starting Ray"))
        assert lines(target)[1:] == ["    train resumed at 320 of 89,600 images"]

    def test_what_was_said_last(self, clock: Clock) -> None:
        with StageProgress(console(terminal=False), None, clock=clock) as progress:
            assert progress.last("train") is None
            progress("train", training(640))
            assert progress.last("train") == training(640)


class TestRate:
    """A rate is this attempt's alone: earlier work, and the time until the first images, do not count."""

    def said(self, clock: Clock, *, start: int, after_s: tuple[float, ...]) -> str:
        target = console(terminal=False)
        with StageProgress(target, None, line_s=0, clock=clock) as progress:
            for number, seconds in enumerate(after_s):
                clock.now += seconds
                progress("sample", Progress(done=start + 64 * number, total=6400, start=start))
        return lines(target)[-1]

    def test_it_counts_from_the_first_report_of_new_images(self, clock: Clock) -> None:
        assert self.said(clock, start=3200, after_s=(0, 500, 2, 2)) == (
            "   sample 3,392 of 6,400 images, 32 images/s, 1 min 34 s left"
        )

    def test_there_is_none_of_one_report_nor_of_an_instant(self, clock: Clock) -> None:
        assert self.said(clock, start=0, after_s=(0, 500)) == "   sample 64 of 6,400 images"
        assert self.said(clock, start=0, after_s=(0, 500, 0.1)) == "   sample 128 of 6,400 images"

    def test_the_mean_of_an_attempt_is_over_all_counts_of_the_stage(self, clock: Clock) -> None:
        with StageProgress(console(terminal=False), None, clock=clock) as progress:
            assert progress.rate("evaluate", 10) == ("0", "images/s")
            for start, done, total in ((0, 0, 77), (0, 77, 77), (2, 2, 5), (2, 5, 5)):
                progress("evaluate", Progress(done=done, total=total, start=start, unit="units"))
            assert progress.rate("evaluate", 2) == ("40", "units/s"), "80 in 2 s, and the 2 of an earlier attempt"
            assert progress.rate("evaluate", 6000) == ("0.013", "units/s"), "not 0.0"

    @pytest.mark.parametrize(
        ("left", "says"),
        [(9, "9 s"), (92, "1 min 32 s"), (7500, "2 h 5 min"), (200_000, "2 d 7 h")],
    )
    def test_time_left(self, clock: Clock, left: int, says: str) -> None:
        target = console(terminal=False)
        with StageProgress(target, None, clock=clock) as progress:
            progress("train", Progress(done=10, total=10 + 5 * left, rate=5.0))
        assert f", 5 images/s, {says} left" in shown(target)


class TestTerminal:
    def test_the_bar_moves_before_the_first_image_and_counts_then(self, clock: Clock) -> None:
        target, logged = console(terminal=True), []
        with StageProgress(target, None, logged.append, clock=clock) as progress:
            progress("train", training(0, phase="starting Ray"))
            progress._bars.refresh()
            first = shown(target)
            progress._bars.refresh()
            assert "0 of 89,600 images: starting Ray" in first
            assert "━" in first, "a bar, and one that moves"
            progress("train", training(12_800, kept=12_800, rate=560.0, loss=0.34))
            progress("sample", Progress(done=10, total=10))
        assert "12,800 of 89,600 images, 560 images/s, loss 0.34, 2 min 17 s left" in shown(target)
        assert "10 of 10 images" in shown(target)
        assert logged == ["train 0 of 89,600 images: starting Ray", "sample 10 of 10 images"]

    def test_on_a_narrow_one_the_figures_stay(self, clock: Clock) -> None:
        target = console(terminal=True, width=80)
        with StageProgress(target, None, clock=clock) as progress:
            progress("evaluate", training(38_400, rate=560.0, loss=0.34))
        assert " evaluate " in shown(target)
        assert "38,400 of 89,600 images, 560 images/s, loss" in shown(target)

    def test_it_is_given_back_when_a_stage_fails(self) -> None:
        target = console(terminal=True)

        def fail() -> None:
            with StageProgress(target, None) as progress:
                progress("train", training(1))
                raise RuntimeError("stage failed")

        with pytest.raises(RuntimeError, match="stage failed"):
            fail()
        assert shown(target).rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


class TestPublishing:
    def test_the_first_the_last_and_few_between(self, clock: Clock) -> None:
        told: list[tuple[str, float, str]] = []
        with StageProgress(console(terminal=False), lambda *what: told.append(what), clock=clock) as progress:
            for done in range(300):
                clock.now += 0.125
                progress("train", Progress(done=min(done, 280), total=280))
        assert told[0] == ("train", 0.0, "0 of 280 images")
        assert told[-1][:2] == ("train", 100.0)
        assert [percent for _, percent, _ in told] == [0, 14.3, 28.6, 42.9, 57.1, 71.4, 85.7, 100]

    def test_one_that_fails_costs_a_warning_and_half_a_minute(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        tried: list[float] = []

        def fail(*_: object) -> None:
            tried.append(clock.now - 1000)
            if clock.now < 1090:
                raise ConnectionError("the API is away")

        with caplog.at_level(logging.WARNING), self.progress(fail, clock) as progress:
            for _ in range(200):
                progress("train", training(1))
                clock.now += 0.5
        assert tried == [0, 30, 60, 90, 95]
        assert [record.message for record in caplog.records] == [
            "progress is not published: the API is away; trying again every 30 s"
        ]

    def test_a_second_outage_is_another_warning(self, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        replies = iter([ConnectionError("one"), None, ConnectionError("two")])

        def publish(*_: object) -> None:
            if (reply := next(replies)) is not None:
                raise reply

        with caplog.at_level(logging.WARNING), self.progress(publish, clock) as progress:
            for _ in range(3):
                progress("train", training(1))
                clock.now += 40
        assert len(caplog.records) == 2

    def test_an_interrupt_is_no_failure(self, clock: Clock) -> None:
        def interrupt(*_: object) -> None:
            raise SystemExit(130)

        with self.progress(interrupt, clock) as progress, pytest.raises(SystemExit):
            progress("train", training(1))

    def progress(self, publish: Callable[..., None], clock: Clock) -> StageProgress:
        return StageProgress(console(terminal=False), publish, clock=clock)
