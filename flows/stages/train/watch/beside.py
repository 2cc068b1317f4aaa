"""Watching beside training: a worker of its own measures each point from its committed snapshot."""

import time
from collections.abc import Callable
from typing import Any

import torch

from flows.stages.train.assignment import Assignment
from flows.stages.train.watch.measurement import run_to_end
from flows.stages.train.watch.records import (
    commit_measured,
    committed_places,
    measured_places,
    point_at,
)
from flows.stages.train.watch.subject import WatchedRun
from flows.stages.train.watch.turn import LEAST_LAST_S, left_out, passed_over
from infra.compute.beside import Beside
from infra.compute.device import prepare_process
from infra.errors import IntegrityError
from infra.outputs.manifest import read_verified
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors

_POLL_S = 0.25
_IMAGES_SEEN = "images_seen"


def open_run(values: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that measures and commits one point, on the worker beside the group.

    Args:
        values: An `Assignment` as JSON values.
    """
    assignment = Assignment.from_json(values)
    prepare_process(assignment.config.threads, assignment.config.dtype)
    run, output = WatchedRun(assignment, torch.device(assignment.config.device)), assignment.output

    def measure(work: dict[str, Any]) -> dict[str, Any]:
        images_seen = work[_IMAGES_SEEN]
        point = point_at(output, images_seen)
        if point is None:
            raise IntegrityError("was removed before it was measured", item=f"the point at {images_seen:,} images")
        weights, _ = decode_tensors(read_verified(output.store, output.folder, point.record), point.file)
        commit_measured(output, images_seen, run_to_end(run.measure(images_seen, weights)))
        return work

    return measure


class BesideWatch:
    """The driver's side: gives the worker each new point. A newer point replaces an older one that was not begun.

    Args:
        output: The train output.
        goal: Images of the run.
        beside: The worker.
        share: The share of the whole time that the last point may take after the last step.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self, output: Output, goal: int, beside: Beside, share: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output, self._goal, self._beside, self._share, self._clock = output, goal, beside, share, clock
        self._began_s = clock()
        self._known = {*measured_places(output), *self._places()}
        self._waiting: int | None = None
        self._passed: list[int] = []
        self._lines: list[str] = []

    def look(self) -> None:
        """Pass on the newest point and take the worker's answer; called a few times a minute or more often."""
        self._take_answer(0.0)
        if not self._beside.fits():
            # Else it could hold the room that a group needs to start again.
            self._beside.end()
            return
        for place in self._places():
            if place not in self._known:
                self._known.add(place)
                if self._waiting is not None:
                    self._passed.append(self._waiting)
                self._waiting = place
        if self._waiting is not None and self._beside.is_free:
            self._beside.submit({_IMAGES_SEEN: self._waiting})
            self._waiting = None

    def finish(self) -> None:
        """Wait for the last point, for the share of the whole time, or at least ten seconds."""
        now_s = self._clock()
        end_s = now_s + max(self._share * (now_s - self._began_s), LEAST_LAST_S)
        self.look()
        while self._beside.is_busy and self._clock() < end_s:
            self._take_answer(_POLL_S)
            self.look()
        if self._passed:
            self._lines.append(passed_over(self._passed))
        if self._beside.is_busy:
            self._leave_out(self._goal, "measuring it would have taken longer than train.watch_share allows")
        self._beside.end()

    def end(self) -> None:
        """End the worker; a point in its hands stays without figures."""
        self._beside.end()

    def take_lines(self) -> list[str]:
        """Return the lines for the run's log since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def _take_answer(self, wait_s: float) -> None:
        answer = self._beside.poll(wait_s)
        if answer is not None and answer.error:
            self._leave_out(answer.work[_IMAGES_SEEN], answer.error)

    def _places(self) -> list[int]:
        return committed_places(self._output, self._goal)

    def _leave_out(self, images_seen: int, why: str) -> None:
        self._lines.append(left_out(images_seen, why))
