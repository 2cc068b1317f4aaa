"""Damage to the snapshot at a goal: it is taken out, so that training makes it again from the goal's checkpoint."""

from collections.abc import Callable

from flows.stages.train.checkpoints import SNAPSHOTS
from flows.stages.train.points import POINTS
from flows.stages.train.sealing import snapshot_record
from infra.errors import IntegrityError, Term
from infra.outputs.plan import Output, Record


def take_out_damaged(output: Output, images_seen: int, say: Callable[[str], None]) -> bool:
    """Delete what is damaged of the snapshots at a place, and say so; return whether anything was.

    The record of one that a manifest names stays, because the bytes must come out as they were sealed.
    """
    found = False
    for name in _names(images_seen):
        record = None
        try:
            record = output.record(name)
            if record is not None:
                output.read(record)
        except IntegrityError as error:
            found = True
            say(f"{error.item}: {error.cause}; it is made again")
            if record is None or not _is_sealed(output, record):
                output.store.delete(f"{output.folder}/{name}.json")
            if record is not None:
                output.store.delete(f"{output.folder}/{record.file}")
    return found


def put_back(output: Output, images_seen: int) -> None:
    """Give a record at a place whose file is gone the bytes of the snapshot there, which are the same.

    Raises:
        IntegrityError: If the snapshot came out with other bytes.
    """
    made = snapshot_record(output, images_seen)
    assert made is not None, "training ended without a snapshot"
    for name in _names(images_seen):
        record = output.record(name)
        if record is None or output.store.exists(f"{output.folder}/{record.file}"):
            continue
        if record.file == made.file or record.sha256 != made.sha256:
            raise IntegrityError(
                "is gone, and came out with other bytes when it was made again",
                item=f"{output.folder}/{record.file}",
                remedy=f"restore it from a copy, or {Term.RUN_ANEW}",
            )
        output.store.put_if_absent(f"{output.folder}/{record.file}", output.read(made))


def _names(images_seen: int) -> list[str]:
    return [f"{folder}/{images_seen:012d}" for folder in (SNAPSHOTS, POINTS)]


def _is_sealed(output: Output, record: Record) -> bool:
    manifests = output.store.list(f"{output.folder}/manifests")
    return any(record.sha256.encode() in output.store.read(name) for name in manifests)
