"""The driver's news about points: each new one as a row of curves and a line, and warnings of what goes wrong."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from flows.health import warnings
from flows.points import Point
from flows.stage import Context
from flows.stages.train.watch.records import WATCH, losses_by_image, measured_places, point_at
from infra.errors import IntegrityError
from infra.outputs.plan import Output

_MARGIN = 9  # the width of a stage's name before a line on the terminal


class WatchNews:
    """Passes on the figures of points as they are committed, each once.

    Args:
        output: The train output.
        context: Receives rows and lines.
        goal: Images of the run; points past it belong to a longer one.
    """

    def __init__(self, output: Output, context: Context, goal: int) -> None:
        self._output, self._context, self._goal = output, context, goal
        self._points: dict[int, Point] = {}
        self._losses: dict[int, Tensor] = {}
        self._said: set[str] = set()
        self._take_new()

    def look(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Pass on new points, and each warning when it first holds.

        Args:
            rows: The history so far.
        """
        for point in self._take_new():
            self._context.on_history([point.row()])
            assert point.figures is not None, "it was measured"
            self._say(f"at {point.images_seen:,} images {point.figures.words()}")
        for warning in warnings(rows, list(self._points.values()), self._losses):
            self._say(warning, self._context.on_warning)

    def _take_new(self) -> list[Point]:
        new = []
        for place in measured_places(self._output):
            if place <= self._goal and place not in self._points and (point := self._measured(place)):
                new.append(point)
        self._losses |= losses_by_image(self._output, new)
        self._points |= {point.images_seen: point for point in new}
        self._points = dict(sorted(self._points.items()))
        return new

    def _measured(self, place: int) -> Point | None:
        """Return a measured point; None, and a line, if its record or that of its figures is damaged."""
        try:
            point = point_at(self._output, place)
        except IntegrityError as error:
            self._say(f"the point at {place:,} images is left out: {error}")
            return None
        if point is not None and point.figures is None:
            file = f"{self._output.folder}/{WATCH}/{place:012d}.json"
            self._say(f"the point at {place:,} images has no figures: {file} is damaged; delete it and run again")
            return None
        return point

    def _say(self, line: str, say: Callable[[str], None] | None = None) -> None:
        if line not in self._said:
            self._said.add(line)
            (say or self._context.say)(f"{'train':>{_MARGIN}} {line}")
