"""Progress on a terminal by rich, elsewhere a line a stage; and as an artifact in the Prefect UI."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class StageProgress:
    """One bar a stage; nothing at all when quiet.

    Args:
        console: Where to draw.
        publish: Told (stage, percent) at most every few seconds, for a UI.
        every_s: How often.
    """

    def __init__(self, console: Console, publish: Callable[[str, float], None] | None, every_s: float = 5.0) -> None:
        columns = TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._console, self._publish, self._every_s = console, publish, every_s
        self._tasks: dict[str, TaskID] = {}
        self._told = 0.0

    def __enter__(self) -> "StageProgress":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)
        now = time.monotonic()
        if self._publish is not None and (done == total or now - self._told >= self._every_s):
            self._told = now
            self._publish(stage, 100 * done / total)

    def finished(self, stage: str, line: str) -> None:
        """Say in a line that a stage has ended."""
        self._console.print(f"[bold]{stage:>9}[/bold] {line}", highlight=False, soft_wrap=True)
