"""The hook of the training loop for watching: who measures the points is the watcher's business."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor


class Watcher(Protocol):
    """Receives the points of a training run and may measure them between steps; the weights of training stay as is."""

    def point(self, images_seen: int, weights: Mapping[str, Tensor]) -> None:
        """Take a point that was just committed.

        Args:
            images_seen: The point's place along training.
            weights: Copies of the averaged weights, by their names in the network.
        """

    def turn(self) -> None:
        """Measure for a moment if the share of time allows it; called after every step."""

    def finish(self, stop: Callable[[], bool]) -> None:
        """Measure the points left within a bound, unless `stop` says so; called after the last step and its point."""

    def lines(self) -> Sequence[str]:
        """Return all lines for the run's log so far, such as about points that were left out."""


class Unwatched:
    """The watcher of a worker that measures nothing: another one does, or watching is off."""

    def point(self, images_seen: int, weights: Mapping[str, Tensor]) -> None:
        """Ignore the point."""

    def turn(self) -> None:
        """Do nothing."""

    def finish(self, stop: Callable[[], bool]) -> None:
        """Do nothing."""

    def lines(self) -> Sequence[str]:
        """Return no line."""
        return ()
