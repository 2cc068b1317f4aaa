"""Watching in turn with training: rank 0 measures between steps, for a share of the time at most."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flows.stages.train.assignment import Assignment
from flows.stages.train.watch.measurement import Measured
from flows.stages.train.watch.records import commit_measured
from flows.stages.train.watch.subject import WatchedRun
from flows.stages.train.watch.watcher import Unwatched, Watcher

# (images seen, weights) -> the slices of the measurement.
Measure = Callable[[int, Mapping[str, Tensor]], Generator[None, None, Measured]]
# The steps of training are not held up longer at a time, but a slice is never cut.
_LONGEST_TURN_S = 0.5
# A short run's last point may take this long, whatever the share.
LEAST_LAST_S = 10.0


def make_watcher(assignment: Assignment, device: torch.device, clock: Callable[[], float] = time.monotonic) -> Watcher:
    """Return rank 0's watcher: it measures in turn if the assignment says so, else it does nothing.

    Args:
        assignment: The work of the group.
        device: The training device.
        clock: Returns seconds from any origin.
    """
    if not assignment.watching:
        return Unwatched()
    run, output = WatchedRun(assignment, device), assignment.output
    return TurnWatcher(
        run.measure,
        lambda images_seen, measured: commit_measured(output, images_seen, measured),
        share=assignment.config.watch_share,
        clock=clock,
        synchronise=torch.cuda.synchronize if device.type == "cuda" else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Started:
    """A point that is being measured."""

    images_seen: int
    slices: Generator[None, None, Measured]


class TurnWatcher:
    """Measures points between steps. A newer point replaces an older one that was not begun.

    Args:
        measure: Measures a point in slices.
        commit: Commits the result of a point.
        share: The largest share of the time since the start to spend, in (0, 1]; a slice may run past it once.
        clock: Returns seconds from any origin.
        synchronise: Waits for the device, so that a slice's time is its own; None if it needs no wait.
    """

    def __init__(
        self,
        measure: Measure,
        commit: Callable[[int, Measured], None],
        *,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        synchronise: Callable[[], None] | None = None,
    ) -> None:
        self._measure, self._commit, self._share = measure, commit, share
        self._clock, self._synchronise = clock, synchronise
        self._began_s, self.spent_s = clock(), 0.0
        self._waiting: tuple[int, Mapping[str, Tensor]] | None = None
        self._started: _Started | None = None
        self._passed: list[int] = []
        self._lines: list[str] = []

    def point(self, images_seen: int, weights: Mapping[str, Tensor]) -> None:
        """Take a point; it waits until the one in hand is done."""
        if self._waiting is not None:
            self._passed.append(self._waiting[0])
        self._waiting = (images_seen, weights)

    def turn(self) -> None:
        """Do slices of the points at hand as long as the share of time allows, half a second at most."""
        end_s = self._clock() + _LONGEST_TURN_S
        while (self._waiting or self._started) and self._clock() < end_s:
            if self.spent_s > self._share * (self._clock() - self._began_s):
                return
            self._slice()

    def finish(self) -> None:
        """Measure the last point for as long as the share of the whole time allows, or at least ten seconds."""
        now_s = self._clock()
        end_s = now_s + max(self._share * (now_s - self._began_s), LEAST_LAST_S)
        if self._waiting is not None and self._started is not None:
            self._passed.append(self._started.images_seen)
            self._started = None
        if self._passed:
            self._lines.append(passed_over(self._passed))
        while (self._waiting or self._started) and self._clock() < end_s:
            self._slice()
        if left := self._started or self._waiting:
            images_seen = left.images_seen if isinstance(left, _Started) else left[0]
            self._leave_out(images_seen, "measuring it would have taken longer than train.watch_share allows")
            self._started = self._waiting = None

    def lines(self) -> Sequence[str]:
        """Return all lines for the run's log so far."""
        return tuple(self._lines)

    def _slice(self) -> None:
        if self._started is None and self._waiting is not None:
            images_seen, weights = self._waiting
            self._started = _Started(images_seen=images_seen, slices=self._slices(images_seen, weights))
            self._waiting = None
        started = self._started
        if started is None:
            return
        began_s = self._clock()
        try:
            measured = self._next(started)
            if measured is not None:
                self._commit(started.images_seen, measured)
        except Exception as error:  # because watching must not end training, such as for want of memory or space
            self._started = None
            self._leave_out(started.images_seen, _cause(error))
        if self._synchronise is not None:
            self._synchronise()
        self.spent_s += self._clock() - began_s

    def _slices(self, images_seen: int, weights: Mapping[str, Tensor]) -> Generator[None, None, Measured]:
        """Begin a measurement with its first slice, so that its errors are those of a slice."""
        return (yield from self._measure(images_seen, weights))

    def _next(self, started: _Started) -> Measured | None:
        """Do one slice; return the result if it was the last one."""
        try:
            next(started.slices)
        except StopIteration as end:
            self._started = None
            measured: Measured = end.value
            return measured
        return None

    def _leave_out(self, images_seen: int, why: str) -> None:
        self._lines.append(left_out(images_seen, why))


def left_out(images_seen: int, why: str) -> str:
    """Return the line about a point without figures."""
    return f"the point at {images_seen:,} images has no figures: {why}"


def passed_over(places: Sequence[int]) -> str:
    """Return the line about points that newer ones replaced."""
    listed = ", ".join(f"{place:,}" for place in sorted(places))
    if len(places) == 1:
        return left_out(places[0], "training went on before its turn came")
    return f"the points at {listed} images have no figures: training went on before their turn came"


def _cause(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
