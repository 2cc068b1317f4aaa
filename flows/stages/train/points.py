"""The places along training at which something is due: rows, checkpoints, and points with averaged weights.

A point is a place, in images seen, at which the averaged weights are committed as a snapshot.
"""

import time
from collections.abc import Callable

from flows.stages.train.config import TrainConfig

POINTS = "points"
_POINTS_PER_RUN = 8
# Points are kept for good, each three times the weights. Those by time stay this share of the images so far apart: 64
# at even distances, then 44 whenever the run doubles.
POINTS_APART = 1 / 64


def crossed(images_seen: int, batch_size: int, every_images: int) -> bool:
    """Tell if the step that ended at `images_seen` crossed a multiple of `every_images`.

    This does not depend on where the attempt started.
    """
    return images_seen // every_images > (images_seen - batch_size) // every_images


def images_between_points(config: TrainConfig) -> int:
    """Return the images between points: `watch_images`, or an eighth of the goal if that is 0."""
    return config.watch_images or max(config.total_images // _POINTS_PER_RUN, 1)


class Cadence:
    """Something that is due whenever a multiple of some images is crossed or some time has passed since the last.

    Args:
        batch_size: Images per step.
        every_images: Images between two of them, at least 1.
        every_s: Seconds since the last one, or since the start, after which the next is due.
        clock: Returns seconds from any origin.
        least_share: The least time between two, as a share of the time so far.
        apart: The least images between two that are due by time, as a share of the images so far, so that their number
            grows as the logarithm of the run.
        last_images: The place of the last one, which may be an earlier attempt's.
    """

    def __init__(
        self,
        batch_size: int,
        every_images: int,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        least_share: float = 0.0,
        *,
        apart: float = 0.0,
        last_images: int = 0,
    ) -> None:
        self._batch_size, self._every_images, self._every_s, self._clock = batch_size, every_images, every_s, clock
        self._least_share, self._apart, self._last_images = least_share, apart, last_images
        self._began_s = self._last_s = clock()

    def is_due(self, images_seen: int, *, by_time: bool = True) -> bool:
        """Tell if one is due after the step that ended at `images_seen`, by images or also by time."""
        if crossed(images_seen, self._batch_size, self._every_images):
            return True
        is_apart = images_seen - self._last_images >= self._apart * images_seen
        return by_time and is_apart and self.time_is_over()

    def time_is_over(self) -> bool:
        """Tell if the last one is at least `every_s` old."""
        now_s = self._clock()
        return now_s - self._last_s >= max(self._every_s, self._least_share * (now_s - self._began_s))

    def restart(self, images_seen: int = 0) -> None:
        """Count the time from now on, and images from this place, because one was just taken."""
        self._last_s = self._clock()
        self._last_images = max(self._last_images, images_seen)
