"""Progress of the stages: a bar on a terminal, otherwise one line per minute, and figures for a UI."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from flows.quantities import duration_text
from flows.stage import Progress

# Receives stage, percent and description.
Publish = Callable[[str, float, str], None]

_LOGGER = logging.getLogger(__name__)
_RETRY_S = 30.0
_MIN_BAR_WIDTH = 8
# A rate over less time is not reliable.
_MIN_RATE_S = 1.0
_SHOWN_DATA_SHARE = 0.05


class StageProgress:
    """Shows the progress of one stage after the other.

    Args:
        console: The terminal or file to draw on.
        publish: Receives (stage, percent, description) for a UI. If it fails, a warning is logged and it is not called
            again for half a minute.
        log: Receives progress lines as plain text, whether or not there is a terminal.
        every_s: Least number of seconds between two calls of `publish` for a stage.
        line_s: Least number of seconds between two lines of a stage.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self,
        console: Console,
        publish: Publish | None,
        log: Callable[[str], None] | None = None,
        every_s: float = 5.0,
        line_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=_MIN_BAR_WIDTH))
        text = TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True))
        stage = TextColumn("{task.description:>9}", table_column=Column(no_wrap=True, min_width=9))
        columns = stage, bar, text
        self._bars = Bars(*columns, console=console, expand=True, disable=not console.is_terminal)
        self._console, self._log, self._clock = console, log, clock
        self._publisher = None if publish is None else _Publisher(publish, every_s, clock)
        self._line_s = line_s
        self._stages: dict[str, _Shown] = {}

    def __enter__(self) -> "StageProgress":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, stage: str, progress: Progress) -> None:
        """Show the progress of a stage, also as lines."""
        shown, text = self._shown(stage, progress)
        if shown.line_is_due(self._clock(), self._line_s):
            self._line(stage, shown.describe_start() if shown.is_new else text)
            shown.is_new = False

    def show(self, stage: str, progress: Progress) -> None:
        """Show the progress of a stage whose lines come from elsewhere."""
        self._shown(stage, progress)

    def _shown(self, stage: str, progress: Progress) -> "tuple[_Shown, str]":
        """Show the progress of a stage in its bar and in the UI; return its display and its text."""
        shown = self._stages.get(stage)
        if shown is None or shown.is_over:
            shown = self._begin(stage, progress)
        shown.update(progress, self._clock())
        text = shown.describe()
        self._bars.update(shown.task, completed=progress.done, total=progress.total, text=text)
        if progress.done > progress.start:
            self._bars.start_task(shown.task)
        if self._publisher is not None:
            self._publisher(stage, progress, text)
        return shown, text

    def last(self, stage: str) -> Progress | None:
        """Return the last reported progress of a stage, or None if it has not begun."""
        shown = self._stages.get(stage)
        return shown.progress if shown else None

    def rate(self, stage: str, seconds: float) -> tuple[str, str]:
        """Return a stage's mean rate in this attempt, over all of its counts, and the rate's unit.

        Args:
            stage: The stage, which may not have begun.
            seconds: The length of the attempt.
        """
        shown = self._stages.get(stage)
        unit = shown.progress.unit if shown else Progress(done=0, total=0).unit
        return _number((shown.done if shown else 0) / seconds), f"{unit}/s"

    def finished(self, stage: str, line: str) -> None:
        """Print a line about a stage that has ended."""
        self._console.print(f"[bold]{stage:>9}[/bold] {line}", highlight=False, soft_wrap=True)
        self._end(stage)

    def stopped(self, stage: str) -> None:
        """Print how much of an interrupted stage is kept, if the stage had begun."""
        shown = self._stages.get(stage)
        if shown is None or shown.is_over:
            return
        progress = shown.progress
        kept = f"{progress.kept:,} are kept" if progress.kept else "none are kept"
        line = f"stopped at {_count(progress)}; {kept}"
        self._console.print(f"[bold]{stage:>9}[/bold] {line}", highlight=False, soft_wrap=True)
        if self._log is not None:
            self._log(f"{stage} {line}")
        self._end(stage)

    def _begin(self, stage: str, progress: Progress) -> "_Shown":
        task = self._bars.add_task(stage, start=False, total=progress.total, text="")
        self._stages[stage] = _Shown(task=task, progress=progress)
        return self._stages[stage]

    def _end(self, stage: str) -> None:
        if stage in self._stages:
            self._stages[stage].is_over = True
            self._bars.stop_task(self._stages[stage].task)

    def _line(self, stage: str, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(f"[bold]{stage:>9}[/bold] {text}", highlight=False, soft_wrap=True)
        if self._log is not None:
            self._log(f"{stage} {text}")


@dataclass(kw_only=True)
class _Shown:
    """The state of a stage's display.

    Attributes:
        task: The stage's bar.
        progress: The last report.
        is_new: Whether the next line is the first of an attempt.
        is_over: Whether the stage has ended; a later report belongs to another attempt.
    """

    task: TaskID
    progress: Progress
    is_new: bool = True
    is_over: bool = False
    _first: tuple[float, int] | None = None
    _done_before: int = 0
    _last_line_s: float = 0.0
    _now_s: float = 0.0

    def update(self, progress: Progress, now_s: float) -> None:
        """Take in a new report."""
        if progress.done < self.progress.done or progress.start != self.progress.start:
            self._done_before = self.done
            self._first, self.is_new = None, True
        self.progress, self._now_s = progress, now_s
        if self._first is None and progress.done > progress.start:
            self._first = (now_s, progress.done)

    @property
    def done(self) -> int:
        """Units done in this attempt, over all counts of the stage so far."""
        return self._done_before + self.progress.done - self.progress.start

    @property
    def rate(self) -> float | None:
        """Units per second in this attempt: the stage's own figure, or else the rate since the first finished units."""
        if self.progress.rate is not None or self._first is None:
            return self.progress.rate
        seconds, done = self._now_s - self._first[0], self.progress.done - self._first[1]
        return done / seconds if done and seconds >= _MIN_RATE_S else None

    def line_is_due(self, now_s: float, every_s: float) -> bool:
        """Return whether a line is due; if so, count it as printed."""
        due = self.is_new or (now_s - self._last_line_s >= every_s)
        if due:
            self._last_line_s = now_s
        return due

    def describe_start(self) -> str:
        """Return the text of an attempt's first line."""
        progress = self.progress
        if progress.done == progress.start > 0:
            return f"resumed at {_count(progress)}"
        return self.describe()

    def describe(self) -> str:
        """Return count, rate, loss and time left, or the phase if nothing is being counted yet."""
        progress, rate = self.progress, self.rate
        count = _count(progress)
        if progress.phase and not rate:
            return f"{count}: {progress.phase}"
        parts = [count]
        if rate:
            parts.append(f"{_number(rate)} {progress.unit}/s")
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.2g}")
        if progress.data_share is not None and progress.data_share > _SHOWN_DATA_SHARE:
            parts.append(f"{progress.data_share:.0%} waiting for data")
        if progress.phase:
            parts.append(progress.phase)
        elif rate and progress.done < progress.total:
            parts.append(f"{duration_text((progress.total - progress.done) / rate, digits=0)} left")
        return ", ".join(parts)


class _Publisher:
    """Calls `publish` at intervals, and pauses for a while after a failure."""

    def __init__(self, publish: Publish, every_s: float, clock: Callable[[], float]) -> None:
        self._publish, self._every_s, self._clock = publish, every_s, clock
        self._last: dict[str, tuple[float, int]] = {}
        self._silent_until_s: float | None = None

    def __call__(self, stage: str, progress: Progress, text: str) -> None:
        """Publish if the interval is over or the stage has reached its end."""
        now_s = self._clock()
        last_s, done = self._last.get(stage, (-float("inf"), -1))
        at_end = progress.done == progress.total != done
        if not at_end and now_s - last_s < self._every_s:
            return
        if self._silent_until_s is not None and now_s < self._silent_until_s:
            return
        self._last[stage] = (now_s, progress.done)
        try:
            self._publish(stage, round(100 * progress.done / progress.total, 1), text)
        except Exception as error:  # because a failing UI must not stop the work
            if self._silent_until_s is None:
                _LOGGER.warning("progress is not published: %s; trying again every %g s", error, _RETRY_S)
            self._silent_until_s = self._clock() + _RETRY_S
        else:
            self._silent_until_s = None


def _count(progress: Progress) -> str:
    return f"{progress.done:,} of {progress.total:,} {progress.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
