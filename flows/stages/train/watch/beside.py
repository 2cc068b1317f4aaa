"""Watching beside training: a worker of its own measures each point from its committed snapshot."""

import time
from collections.abc import Callable
from typing import Any

import torch

from flows.stages.train.assignment import Assignment
from flows.stages.train.watch.measurement import run_to_end
from flows.stages.train.watch.records import commit_measured, read_weights, unmeasured_places
from flows.stages.train.watch.subject import WatchedRun
from flows.stages.train.watch.turn import LEAST_LAST_S, OUT_OF_TIME, left_out
from infra.compute.beside import Beside
from infra.compute.device import prepare_process
from infra.outputs.plan import Output

_POLL_S = 0.25
NO_ROOM = "the cluster has no room to measure"
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
        weights = read_weights(output, images_seen)
        commit_measured(output, images_seen, run_to_end(run.measure(images_seen, weights)))
        return work

    return measure


class BesideWatch:
    """The driver's side: gives the worker one point after the other, the newest first.

    Args:
        output: The train output.
        goal: Images of the run.
        beside: The worker.
        share: The share of the whole time that measuring may take after the last step.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self, output: Output, goal: int, beside: Beside, share: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output, self._goal, self._beside, self._share, self._clock = output, goal, beside, share, clock
        self._began_s = clock()
        self._known: set[int] = set()
        self._waiting: list[int] = []
        self._in_hand: int | None = None
        self._rest_until_s, self._trouble = clock(), ""
        self._lines: list[str] = []

    def look(self) -> None:
        """Pass on the newest point and take the worker's answer; called a few times a minute or more often."""
        self._take_answer(0.0)
        if not self._beside.fits():
            # Else it could hold the room that a group needs to start again.
            self._put_back()
            self._beside.end()
            return
        new = [place for place in unmeasured_places(self._output, self._goal) if place not in self._known]
        self._known.update(new)
        self._waiting = sorted([*self._waiting, *new])
        if self._waiting and self._is_ready():
            self._in_hand = self._waiting.pop()
            self._beside.submit({_IMAGES_SEEN: self._in_hand})

    def finish(self) -> None:
        """Wait for the points left, for the share of the whole time; the last one has ten seconds."""
        now_s = self._clock()
        end_s = now_s + self._share * (now_s - self._began_s)
        self.look()
        last = max([*self._waiting, self._in_hand or 0])
        while self._can_go_on():
            is_left = last in (*self._waiting, self._in_hand)
            if self._clock() >= (max(end_s, now_s + LEAST_LAST_S) if is_left else end_s):
                break
            if self._take_answer(_POLL_S):
                self.look()
        why = self._why_left()
        self._put_back()
        if self._waiting:
            self._lines.append(left_out(self._waiting, why))
        self._beside.end()

    def end(self) -> None:
        """End the worker; a point in its hands stays without figures."""
        self._beside.end()

    def take_lines(self) -> list[str]:
        """Return the lines for the run's log since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def _can_go_on(self) -> bool:
        return self._beside.is_busy or (bool(self._waiting) and self._is_ready() and self._beside.fits())

    def _is_ready(self) -> bool:
        return self._beside.is_free and self._clock() >= self._rest_until_s

    def _why_left(self) -> str:
        """Return why points are left after the last step."""
        if self._beside.waits_for_room:
            return NO_ROOM
        if self._beside.is_busy:
            return OUT_OF_TIME
        if not self._beside.fits():
            return NO_ROOM
        return self._trouble or OUT_OF_TIME

    def _take_answer(self, wait_s: float) -> bool:
        """Take the worker's answer, if there is one within the wait."""
        answer = self._beside.poll(wait_s)
        if answer is None:
            return False
        if answer.again_in_s is not None:
            self._put_back()
            self._rest_until_s, self._trouble = self._clock() + answer.again_in_s, answer.error
            return True
        self._in_hand, self._trouble = None, ""
        if answer.error:
            self._lines.append(left_out([answer.work[_IMAGES_SEEN]], answer.error))
        return True

    def _put_back(self) -> None:
        if self._in_hand is not None:
            self._waiting = sorted([*self._waiting, self._in_hand])
            self._in_hand = None
