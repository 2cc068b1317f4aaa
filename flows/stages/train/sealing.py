"""The sealing of a training run: its goal, and every point on the way as the goal of a shorter run."""

from collections.abc import Callable, Sequence
from typing import Any

from flows.given import Given
from flows.points import points_facts
from flows.stages.train.averages import AVERAGES
from flows.stages.train.checkpoints import SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.points import POINTS
from flows.stages.train.watch.records import points_up_to
from infra.digests import Json
from infra.errors import IntegrityError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Record


def point_images(output: Output) -> list[int]:
    """Return the committed points, in images seen, in order."""
    return [int(name.rsplit("/", 1)[1]) for name in output.records(POINTS)]


def sealed_images(output: Output) -> set[int]:
    """Return the places that are sealed as goals of their own, without a look into their manifests."""
    names = {name.rsplit("/", 1)[1] for name in output.store.list(f"{output.folder}/manifests")}
    return {images_seen for images_seen in point_images(output) if f"images-{images_seen}.json" in names}


def snapshot_record(output: Output, images_seen: int) -> Record | None:
    """Return the record of the snapshot at a place, which a goal or a point committed; both have the same bytes."""
    name = f"{images_seen:012d}"
    return output.record(f"{SNAPSHOTS}/{name}") or output.record(f"{POINTS}/{name}")


def seal(
    output: Output,
    config: TrainConfig,
    goal: dict[str, int],
    images_seen: int,
    rows: list[Json],
    initial: Given | None = None,
    untrained: Sequence[int] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Seal the snapshot at a place as a goal.

    Args:
        output: The train output.
        config: The stage's settings.
        goal: The goal as the user gives it; the steps of the run may end past it.
        images_seen: Images seen when the goal's steps end.
        rows: The rows of the history; those past the goal are left out.
        initial: The network that training started from, if any.
        untrained: The labels of classes without a training image.
        say: Takes a line about each record that is damaged and left out.

    Raises:
        IntegrityError: If the snapshot is damaged.
    """
    record = snapshot_record(output, images_seen)
    assert record is not None, "training ended without a snapshot"
    facts: dict[str, Any] = {
        "images_seen": images_seen,
        "history": [row for row in rows if row["images_seen"] <= images_seen],
        **points_facts(points_up_to(output, images_seen, say)),
        "averages": _averages(output, images_seen, say),
        "num_timesteps": config.num_timesteps,
        "settings": config.result_settings(),
    }
    if initial is not None:
        facts["initial"] = {"source": config.initial, "place": initial.place, "digest": initial.digest}
    if untrained:
        facts["untrained_classes"] = list(untrained)
    return output.seal(goal, [{"unit": 0, "rows": 1, **record.as_json()}], facts)


def _averages(output: Output, images_seen: int, say: Callable[[str], None]) -> list[Json]:
    """Return the files of power averages up to a place, in order, with what an average is rebuilt from."""
    found = []
    for name in output.records(AVERAGES):
        place = int(name.rsplit("/", 1)[1])
        if place > images_seen:
            continue
        try:
            record = output.record(name)
        except IntegrityError as error:
            say(f"the power averages at {place:,} images are left out: {error}")
            continue
        if record is not None:
            about = {"file": record.file, "sha256": record.sha256, "bytes": record.bytes}
            found.append({"images_seen": place, **record.facts, **about})
    return found
