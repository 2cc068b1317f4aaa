"""What a source holds, written down once: counted, digested and cut into parts, in bounded memory."""

import hashlib
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from infra.errors import InputError
from infra.sources.source import Entry, Other, Source

SPLITS = ("train", "test")
_MAX_CLASSES = 100_000
# A negative number is the usual sign of a label that is held back.
_NO_CLASS = re.compile(r"-[0-9]+")
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
        lines = iter(self._spool)
        while part := b"".join(islice(lines, length)):
            yield part


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
    splits: Counter[str] = Counter()
    others: Counter[str] = Counter()
    labels: dict[str, set[str]] = defaultdict(set)
    unlabelled: Counter[str] = Counter()
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    with tempfile.TemporaryFile() as spool:
        for found in source.find():
            if isinstance(found, Other):
                others[PurePosixPath(found.name).suffix.lower()] += 1
                continue
            if _NO_CLASS.fullmatch(found.label):
                found = replace(found, label="")
            line = encode(found.as_json()).encode() + b"\n"
            digest.update(line)
            spool.write(line)
            splits[found.split] += 1
            labels[found.split].add(found.label)
            unlabelled[found.split] += not found.label
            if sum(map(len, labels.values())) > len(labels) * _MAX_CLASSES:
                raise InputError(f"has more than {_MAX_CLASSES} classes", item="prepare.source", remedy="check it")
        if not splits:
            left_out = f" (left out: {_counts(others)})" if others else ""
            raise InputError(f"holds no images{left_out}", item="prepare.source", remedy="check prepare.kind and it")
        counted = SPLITS if all(splits[split] for split in SPLITS) else tuple(splits)
        classes: set[str] = set().union(*(labels[split] for split in counted))
        _check_classes(classes if set(splits) == {""} else set())
        yield Listing(
            digest=digest.hexdigest(),
            splits=dict(splits),
            class_names=_class_names(classes),
            unlabelled=sum(unlabelled[split] for split in counted) if classes != {""} else 0,
            others=dict(sorted(others.items())),
            _spool=spool,
        )


def _check_classes(labels: set[str]) -> None:
    """Refuse classes like data/train/cat beside data/test/cat: whoever has them meant splits, a folder further up."""
    parts = {part.lower() for label in labels if "/" in label for part in label.split("/")}
    if set(SPLITS) <= parts:
        raise InputError(
            "has the folders train and test below others, where they give no split",
            item="prepare.source",
            remedy="name the folder that holds them, or pack the archive from inside it",
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
