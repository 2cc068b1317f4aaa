"""Watching in turn with training: rank 0 measures between steps, for a share of the time at most."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flows.stages.train.assignment import Assignment
from flows.stages.train.watch.measurement import Measured
from flows.stages.train.watch.records import commit_measured, measured_places, read_weights, unmeasured_places
from flows.stages.train.watch.subject import WatchedRun
from flows.stages.train.watch.watcher import Unwatched, Watcher
from infra.errors import StorageError

# (images seen, weights) -> the slices of the measurement.
Measure = Callable[[int, Mapping[str, Tensor]], Generator[None, None, Measured]]
# The steps of training are not held up longer at a time, but a slice is never cut.
_LONGEST_TURN_S = 0.5
# A short run's last point may take this long, whatever the share.
LEAST_LAST_S = 10.0
OUT_OF_TIME = "train.watch_share left no time"
# After an error of the store; a try may itself take that long.
_REST_S = 30.0


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
        lambda images_seen: read_weights(output, images_seen),
        share=assignment.config.watch_share,
        earlier=unmeasured_places(output, assignment.config.total_images),
        measured=measured_places(output),
        clock=clock,
        synchronise=torch.cuda.synchronize if device.type == "cuda" else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Started:
    """A point that is being measured."""

    images_seen: int
    slices: Generator[None, None, Measured]


class TurnWatcher:
    """Measures points between steps, the newest first; those left are measured after the last step.

    Only the newest point's weights are kept in memory.

    Args:
        measure: Measures a point in slices.
        commit: Commits the result of a point.
        read: Returns the weights of a point that was committed.
        share: The largest share of the time since the start to spend, in (0, 1]; a slice may run past it once.
        earlier: Points of earlier attempts that were not measured, in order.
        measured: Points that were measured; an attempt from an earlier checkpoint comes by them again.
        clock: Returns seconds from any origin.
        synchronise: Waits for the device, so that a slice's time is its own; None if it needs no wait.
    """

    def __init__(
        self,
        measure: Measure,
        commit: Callable[[int, Measured], None],
        read: Callable[[int], Mapping[str, Tensor]],
        *,
        share: float,
        earlier: Sequence[int] = (),
        measured: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
        synchronise: Callable[[], None] | None = None,
    ) -> None:
        self._measure, self._commit, self._read, self._share = measure, commit, read, share
        self._clock, self._synchronise = clock, synchronise
        self._began_s, self.spent_s = clock(), 0.0
        self._waiting, self._known = list(earlier), {*earlier, *measured}
        self._newest: tuple[int, Mapping[str, Tensor]] | None = None
        self._started: _Started | None = None
        self._lines: list[str] = []
        self._rest_until_s, self._away = clock(), ""

    def point(self, images_seen: int, weights: Mapping[str, Tensor]) -> None:
        """Take a point; it waits until the one in hand is done."""
        if images_seen in self._known:
            return
        self._known.add(images_seen)
        self._waiting = sorted([*self._waiting, images_seen])
        self._newest = (images_seen, weights)

    def turn(self) -> None:
        """Do slices of the points at hand as long as the share of time allows, half a second at most."""
        end_s = self._clock() + _LONGEST_TURN_S
        while self._can_go_on(end_s):
            if self.spent_s > self._share * (self._clock() - self._began_s):
                return
            self._slice()

    def finish(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Measure the points left, the last one first, for the share of the whole time; the last one has ten seconds.

        Args:
            stop: Asked after each slice.
        """
        now_s = self._clock()
        end_s = now_s + self._share * (now_s - self._began_s)
        if self._waiting and self._started is not None and self._started.images_seen < self._waiting[-1]:
            # Begun again later: points share one network, so that none can be set aside.
            self._put_back()
        last = self._next_place()
        while self._can_go_on(max(end_s, now_s + LEAST_LAST_S) if self._next_place() == last else end_s) and not stop():
            self._slice()
        self._put_back()
        if self._waiting:
            why = self._away if self._clock() < self._rest_until_s else OUT_OF_TIME
            self._lines.append(left_out(self._waiting, "the run was stopped" if stop() else why))
            self._waiting.clear()

    def lines(self) -> Sequence[str]:
        """Return all lines for the run's log so far."""
        return tuple(self._lines)

    def _next_place(self) -> int | None:
        if self._started is not None:
            return self._started.images_seen
        return self._waiting[-1] if self._waiting else None

    def _can_go_on(self, end_s: float) -> bool:
        return bool(self._waiting or self._started) and self._rest_until_s <= self._clock() < end_s

    def _slice(self) -> None:
        if self._started is None and self._waiting:
            images_seen = self._waiting.pop()
            self._started = _Started(images_seen=images_seen, slices=self._slices(images_seen))
        started = self._started
        if started is None:
            return
        began_s = self._clock()
        try:
            measured = self._next(started)
            if measured is not None:
                self._commit(started.images_seen, measured)
        except StorageError as error:  # it may be back soon
            self._started = started
            self._put_back()
            self._rest_until_s, self._away = self._clock() + _REST_S, _cause(error)
        except Exception as error:  # because watching must not end training, such as for want of memory or space
            self._started = None
            self._lines.append(left_out([started.images_seen], _cause(error)))
        if self._synchronise is not None:
            self._synchronise()
        self.spent_s += self._clock() - began_s

    def _slices(self, images_seen: int) -> Generator[None, None, Measured]:
        """Begin a measurement with its first slice, so that its errors are those of a slice."""
        newest, self._newest = self._newest, None
        weights = newest[1] if newest is not None and newest[0] == images_seen else self._read(images_seen)
        return (yield from self._measure(images_seen, weights))

    def _put_back(self) -> None:
        if self._started is not None:
            self._waiting = sorted([*self._waiting, self._started.images_seen])
            self._started = None

    def _next(self, started: _Started) -> Measured | None:
        """Do one slice; return the result if it was the last one."""
        try:
            next(started.slices)
        except StopIteration as end:
            self._started = None
            measured: Measured = end.value
            return measured
        return None


def left_out(places: Sequence[int], why: str) -> str:
    """Return the line about points without figures."""
    listed = ", ".join(f"{place:,}" for place in sorted(places))
    if len(places) == 1:
        return f"the point at {listed} images has no figures: {why}"
    return f"the points at {listed} images have no figures: {why}"


def _cause(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
