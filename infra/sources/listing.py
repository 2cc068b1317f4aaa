"""What a source holds, written down once: counted, digested and cut into parts, in bounded memory."""

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from infra.errors import InputError
from infra.sources.folder import place
from infra.sources.source import Entry, Other, Source

SPLITS = ("train", "test")
_MAX_CLASSES = 100_000
# A negative number is the usual sign of a label that is held back.
_NO_CLASS = re.compile(r"-[0-9]+")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# Below it, and written as a number is: 01 is a name like any other.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All that was found in a source; the entries themselves are in a temporary file.

    Attributes:
        digest: Of every entry: its name, its file's size and stamp, its place, split and label.
        splits: Entries by the split that the source gives; the empty one is of those to which it gives none.
        class_names: Classes by their number; empty where some entry of the splits has none, or all have the same.
        unlabelled: Entries of the splits without a class where others have one.
        others: Files that are no images, by suffix.
    """

    digest: str
    splits: dict[str, int]
    class_names: list[str]
    unlabelled: int
    others: dict[str, int]
    _spool: BinaryIO
    _wrapper: "_Wrapper"

    @property
    def count(self) -> int:
        """The number of entries."""
        return sum(self.splits.values())

    @property
    def splits_given(self) -> bool:
        """Whether the source itself says what is held out; what it puts into neither split is left out then."""
        return all(self.splits.get(split) for split in SPLITS)

    def parts(self, length: int) -> Iterator[bytes]:
        """The entries as stored, so many a part, in order."""
        self._spool.seek(0)
        lines = map(self._unwrapped, self._spool) if self._wrapper.folders else iter(self._spool)
        while part := b"".join(islice(lines, length)):
            yield part

    def _unwrapped(self, line: bytes) -> bytes:
        entry = Entry.from_json(json.loads(line))
        split, label = self._wrapper.taken_off(entry.split, entry.label)
        return _line(replace(entry, split=split, label=label))


def part_entries(part: bytes) -> list[Entry]:
    """Read a stored part."""
    return [Entry.from_json(json.loads(line)) for line in part.splitlines()]


@contextmanager
def listed(source: Source) -> Iterator[Listing]:
    """Find everything in a source.

    Raises:
        InputError: If it holds no image, or more classes than can be meant.
    """
    digest = hashlib.sha256()
    found_as: Counter[tuple[str, str]] = Counter()
    labels: set[str] = set()
    others: Counter[str] = Counter()
    with tempfile.TemporaryFile() as spool:
        for found in source.find():
            if isinstance(found, Other):
                others[PurePosixPath(found.name).suffix.lower()] += 1
                continue
            if _NO_CLASS.fullmatch(found.label):
                found = replace(found, label="")
            line = _line(found)
            digest.update(line)
            spool.write(line)
            found_as[found.split, found.label] += 1
            labels.add(found.label)
            if len(labels) > _MAX_CLASSES:
                raise InputError(f"has more than {_MAX_CLASSES} classes", item="prepare.source", remedy="check it")
        if not found_as:
            left_out = f" (left out: {_counts(others)})" if others else ""
            raise InputError(f"holds no images{left_out}", item="prepare.source", remedy="check prepare.kind and it")
        wrapper = _find_wrapper(labels, given=any(split for split, _ in found_as))
        counts: Counter[tuple[str, str]] = Counter()
        for split_and_label, count in found_as.items():
            counts[wrapper.taken_off(*split_and_label)] += count
        splits: Counter[str] = Counter()
        for (split, _), count in counts.items():
            splits[split] += count
        counted = SPLITS if all(splits[split] for split in SPLITS) else tuple(splits)
        classes = {label for split, label in counts if split in counted}
        _check_classes(classes if set(splits) == {""} else set())
        yield Listing(
            digest=digest.hexdigest(),
            splits=dict(splits),
            class_names=_class_names(classes),
            unlabelled=sum(counts[split, ""] for split in counted) if classes != {""} else 0,
            others=dict(sorted(others.items())),
            _spool=spool,
            _wrapper=wrapper,
        )


@dataclass(frozen=True)
class _Wrapper:
    """Folders around all there is, as archives have them: they name no class, and hide the splits.

    Attributes:
        folders: How many, one in the other.
        splits: Whether both splits lie in the innermost.
    """

    folders: int
    splits: bool

    def taken_off(self, split: str, label: str) -> tuple[str, str]:
        """The split and the class of what was found with these."""
        if self.folders:
            label = "/".join(label.split("/")[self.folders :])
        return place(f"{label}/") if self.splits else (split, label)


def _find_wrapper(labels: set[str], *, given: bool) -> _Wrapper:
    folders = 0
    while any("/" in label for label in labels) and len({label.split("/")[0] for label in labels}) == 1:
        labels = {label.partition("/")[2] for label in labels}
        folders += 1
    inside = {place(f"{label}/")[0] for label in labels}
    return _Wrapper(folders, splits=folders > 0 and not given and inside >= set(SPLITS))


def _line(entry: Entry) -> bytes:
    return _ENCODE(entry.as_json()).encode() + b"\n"


def _check_classes(labels: set[str]) -> None:
    """Refuse classes like data/train/cat beside data/test/cat: whoever has them meant splits, a folder further up."""
    parts = {part.lower() for label in labels if "/" in label for part in label.split("/")}
    if set(SPLITS) <= parts:
        raise InputError(
            "has the folders train and test below others, where they give no split",
            item="prepare.source",
            remedy="put train and test into one folder and nothing beside them",
        )


def _class_names(labels: set[str]) -> list[str]:
    """The classes in order: whole numbers keep their number, other names stand in the order of their characters."""
    if len(labels) < 2 or "" in labels:
        return []
    if all(_NUMBER.fullmatch(label) for label in labels):
        return [str(number) for number in range(max(map(int, labels)) + 1)]
    return sorted(labels)


def _counts(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
