"""The pictures along a training run: images drawn from the same noise at its points, read from what is sealed."""

from collections.abc import Sequence
from contextlib import suppress

from flows.pages.pictures import sample_grid
from flows.points import Point, read_points
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.tensors import decode_tensors
from infra.record import Picture
from infra.storage.store import Store

NAME = "train/samples"
MOST_PICTURES = 20
# A picture shows this many images, fewer if they are large.
_IMAGES, _LARGE_SIDE, _LARGE_IMAGES = 16, 128, 4


def grids_along(store: Store, trained: Manifest) -> list[Picture]:
    """Return the grids of at most 20 points, spread evenly, the last one among them; a damaged file costs its own.

    Args:
        store: The store that holds the training's output.
        trained: Its manifest.
    """
    pictures = []
    for point in _spread([point for point in read_points(trained.facts) if point.watch is not None]):
        with suppress(IntegrityError):
            pictures.append(_picture(store, trained, point))
    return pictures


def _spread(points: Sequence[Point]) -> list[Point]:
    count = min(len(points), MOST_PICTURES)
    return [points[-1 - k * (len(points) - 1) // max(count - 1, 1)] for k in reversed(range(count))]


def _picture(store: Store, trained: Manifest, point: Point) -> Picture:
    assert point.watch is not None, "only measured points have images"
    tensors, _ = decode_tensors(read_verified(store, trained.folder, point.watch), point.watch["file"])
    images = tensors["grid"].numpy()
    images = images[: _LARGE_IMAGES if images.shape[-1] >= _LARGE_SIDE else _IMAGES]
    return Picture(name=NAME, step=point.images_seen, time_ms=point.time_ms, png=sample_grid(images))
