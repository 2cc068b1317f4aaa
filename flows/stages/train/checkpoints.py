"""A training run's checkpoints: found, loaded and committed; old ones are dropped once a newer one was read back."""

import contextlib
from typing import Any

from torch import Tensor

from infra.errors import IntegrityError, StorageError
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors, encode_tensors

SNAPSHOTS = "snapshots"
CHECKPOINTS = "checkpoints"

# A checkpoint's tensors and scalars, by name.
Saved = tuple[dict[str, Tensor], dict[str, Any]]


def latest_checkpoint(output: Output, goal: int) -> int:
    """Return the images seen by the latest checkpoint up to the goal; 0 if there is none."""
    return max(_up_to(output, goal), default=0)


class Checkpoints:
    """The checkpoints of one attempt.

    Args:
        output: The output to commit them to.
        keep: Number of latest checkpoints to keep, in addition to those at sealed goals and beyond the last commit.

    Attributes:
        kept: Images seen by the last checkpoint loaded or committed, which survive if the process is killed.
        lines: Lines for the run's log.
    """

    def __init__(self, output: Output, keep: int) -> None:
        self.kept = 0
        self.lines: list[str] = []
        self._output, self._keep = output, keep
        self._damaged: set[str] = set()

    def latest(self, goal: int) -> tuple[int, Saved | None]:
        """Load the latest undamaged checkpoint up to the goal; return its images seen, or 0 and None.

        Each damaged one has a line: resuming from an earlier checkpoint leads to the same result, but later.
        """
        damaged: list[tuple[str, IntegrityError]] = []
        found: tuple[int, Saved | None] = (0, None)
        for images_seen in sorted(_up_to(self._output, goal), reverse=True):
            try:
                found = (images_seen, self.load(images_seen))
                break
            except IntegrityError as error:
                damaged.append((_name(images_seen), error))
        place = f"goes on from {found[0]:,} images" if found[0] else "begins with the first step again"
        self.lines += [f"{self._output.folder}/{name}: {error.cause}; training {place}" for name, error in damaged]
        self._damaged = {name for name, _ in damaged}
        return found

    def load(self, images_seen: int) -> Saved:
        """Load one checkpoint.

        Raises:
            IntegrityError: If it is damaged or gone.
        """
        name = _name(images_seen)
        record = self._output.record(name)
        if record is None:
            raise IntegrityError("was removed while this run started", item=name, remedy="run again")
        saved = decode_tensors(self._output.read(record), name)
        self.kept = images_seen
        return saved

    def commit(self, images_seen: int, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Commit a checkpoint and read it back, then drop old ones.

        If a damaged checkpoint holds the name, it is replaced.

        Raises:
            StorageError: If the bytes that were read back differ; they are removed, and no other checkpoint is.
        """
        name, data = _name(images_seen), encode_tensors(tensors, scalars)
        try:
            record = self._output.commit(name, "safetensors", data, scalars)
            self._output.read(record)
        except IntegrityError as error:
            self._remove(name)
            cause = f"was damaged as it was written ({error.cause})"
            raise StorageError(cause, item=f"{self._output.folder}/{name}", remedy="look at the disk") from error
        self.kept = images_seen
        self._damaged.discard(name)
        self._drop_old(name)

    def _drop_old(self, newest: str) -> None:
        """Delete the damaged and all but the latest of the checkpoints up to one that was read back.

        Those at sealed goals stay, as do those beyond: they belong to a longer run, which goes on from them. Each
        record is deleted before its file.
        """
        output = self._output
        goals = {name.rsplit("/", 1)[1] for name in output.records(SNAPSHOTS)}
        names = [name for name in output.records(CHECKPOINTS) if name.rsplit("/", 1)[1] not in goals and name <= newest]
        whole = [name for name in names if name not in self._damaged]
        for name in sorted({*names} - {*whole[-self._keep :]}):
            self._remove(name)

    def _remove(self, name: str) -> None:
        output, record = self._output, None
        with contextlib.suppress(IntegrityError):  # a record that is not one names no file
            record = output.record(name)
        output.store.delete(f"{output.folder}/{name}.json")
        if record is not None:
            output.store.delete(f"{output.folder}/{record.file}")


def spare_checkpoints(output: Output) -> list[str]:
    """Return the names in the store of the checkpoints that no run goes on from any more, each record before its file.

    They lie before the last goal that was reached. A longer run goes on from the checkpoint there, which is read back
    first; a damaged snapshot at an earlier goal is made again from that goal's checkpoint.
    """
    goals = sorted(name.rsplit("/", 1)[1] for name in output.records(SNAPSHOTS))
    reached = [name for name in output.records(CHECKPOINTS) if goals and name.rsplit("/", 1)[1] <= goals[-1]]
    spare = [name for name in reached[:-1] if name.rsplit("/", 1)[1] not in goals]
    try:
        if not spare or (last := output.record(reached[-1])) is None:
            return []
        output.read(last)
        records = [(name, output.record(name)) for name in spare]
    except IntegrityError:
        return []  # because an earlier one may be needed yet
    found: list[str] = []
    for name, record in records:
        if record is not None:
            found += [f"{output.folder}/{name}.json", f"{output.folder}/{record.file}"]
    return found


def _name(images_seen: int) -> str:
    return f"{CHECKPOINTS}/{images_seen:012d}"


def _up_to(output: Output, goal: int) -> list[int]:
    numbers = (int(name.rsplit("/", 1)[1]) for name in output.records(CHECKPOINTS))
    return [images_seen for images_seen in numbers if images_seen <= goal]
