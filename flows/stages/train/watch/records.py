"""The figures of points in the train output: `watch/<images seen>`, committed once; whoever comes second loses."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from flows.health import losses_of
from flows.points import Point, PointFigures
from flows.stages.train.checkpoints import SNAPSHOTS
from flows.stages.train.points import POINTS
from flows.stages.train.watch.measurement import Measured
from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.manifest import read_verified
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors, encode_tensors

WATCH = "watch"


def commit_measured(output: Output, images_seen: int, measured: Measured) -> None:
    """Commit the result of a point, unless it was committed before."""
    figures = measured.figures.as_json()
    data = encode_tensors(measured.tensors, {"images_seen": images_seen, "figures": figures})
    facts = {"figures": figures, "time_ms": int(time.time() * 1000)}
    output.commit(_name(WATCH, images_seen), "safetensors", data, facts)


def measured_places(output: Output) -> list[int]:
    """Return the places of the points that were measured, in order."""
    return _places(output, WATCH)


def point_at(output: Output, images_seen: int) -> Point | None:
    """Return a committed point with its figures, if it was measured; None if there is no such point.

    If the record of the figures is damaged, the point has none.

    Raises:
        IntegrityError: If the record of the point is damaged.
    """
    record = output.record(_name(SNAPSHOTS, images_seen)) or output.record(_name(POINTS, images_seen))
    if record is None:
        return None
    stored: Json = {"file": record.file, "sha256": record.sha256, "bytes": record.bytes}
    watch = None
    with contextlib.suppress(IntegrityError):
        watch = output.record(_name(WATCH, images_seen))
    if watch is None:
        return Point(images_seen=images_seen, **stored)
    return Point(
        images_seen=images_seen,
        **stored,
        figures=PointFigures.from_json(watch.facts["figures"]),
        watch={"file": watch.file, "sha256": watch.sha256, "bytes": watch.bytes},
        time_ms=watch.facts["time_ms"],
    )


def read_weights(output: Output, images_seen: int) -> dict[str, Tensor]:
    """Return the averaged weights of a committed point by their names in the network.

    Raises:
        IntegrityError: The point is damaged, or was removed.
    """
    point = point_at(output, images_seen)
    if point is None:
        raise IntegrityError("was removed before it was measured", item=f"the point at {images_seen:,} images")
    weights, _ = decode_tensors(read_verified(output.store, output.folder, point.record), point.file)
    return weights


def committed_places(output: Output, images_seen: int) -> list[int]:
    """Return the places of the committed points up to a goal, those on the way and all goals, in order."""
    places = {*_places(output, POINTS), *_places(output, SNAPSHOTS)}
    return sorted(place for place in places if place <= images_seen)


def unmeasured_places(output: Output, images_seen: int) -> list[int]:
    """Return the places of the committed points up to a goal that have no figures, in order."""
    return sorted({*committed_places(output, images_seen)} - {*measured_places(output)})


def points_up_to(output: Output, images_seen: int, say: Callable[[str], None] = lambda _: None) -> list[Point]:
    """Return the points of a run up to a goal, those on the way and all goals, in order.

    Args:
        output: The train output.
        images_seen: The goal.
        say: Takes a line about each point whose record is damaged; it is left out.
    """
    found = []
    for place in committed_places(output, images_seen):
        try:
            found.append(point_at(output, place))
        except IntegrityError as error:
            say(f"the point at {place:,} images is left out: {error}")
    return [point for point in found if point is not None]


def losses_by_image(output: Output, points: Sequence[Point]) -> Mapping[int, Tensor]:
    """Return L_simple of each image, the mean over the timesteps, float64 [n], by the places of the measured points.

    A damaged file is left out: it must not end the training that it is about.
    """
    losses = {}
    for point in points:
        if point.watch is not None:
            with contextlib.suppress(IntegrityError):
                tensors, _ = decode_tensors(
                    read_verified(output.store, output.folder, point.watch), point.watch["file"]
                )
                losses[point.images_seen] = losses_of(tensors)
    return losses


def _places(output: Output, folder: str) -> list[int]:
    return [int(name.rsplit("/", 1)[1]) for name in output.records(folder)]


def _name(folder: str, images_seen: int) -> str:
    return f"{folder}/{images_seen:012d}"
