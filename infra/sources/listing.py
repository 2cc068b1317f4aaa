"""What a source holds, written down once: counted, digested and cut into parts, in bounded memory."""

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from infra.errors import InputError
from infra.sources.placing import SPLITS, Placing, Survey
from infra.sources.source import Entry, Other, Source

_MAX_CLASSES = 100_000
# A negative number is the usual sign of a label that is held back.
_NO_CLASS = re.compile(r"-[0-9]+")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# Below it, and written as a number is: 01 is a name like any other.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")
_FEW = 1000


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All that was found in a source; the entries themselves are in a temporary file.

    Attributes:
        digest: Of every entry as it was found: its name, its file's size and stamp, its place, split, label and folder.
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
    """Find everything in a source, and give each image its split and its class.

    Raises:
        InputError: If it holds no image, splits of which one is missing, or more classes than can be meant.
    """
    digest = hashlib.sha256()
    survey, others = Survey(), Counter[str]()
    with tempfile.TemporaryFile() as found, tempfile.TemporaryFile() as spool:
        for entry in source.find():
            if isinstance(entry, Other):
                others[PurePosixPath(entry.name).suffix.lower()] += 1
                continue
            survey.add(entry)
            line = _line(entry)
            digest.update(line)
            found.write(line)
        if not found.tell():
            left_out = f" (left out: {_counts(others)})" if others else ""
            raise InputError(f"holds no images{left_out}", item="prepare.source", remedy="check prepare.kind and it")
        counts = _place(found, survey.placing(), spool)
        splits = Counter[str]()
        for (split, _), count in counts.items():
            splits[split] += count
        _check_splits(splits)
        counted = SPLITS if all(splits[split] for split in SPLITS) else tuple(splits)
        labels = {split: {label for of, label in counts if of == split} for split in counted}
        _check_classes(labels)
        classes = set[str]().union(*labels.values())
        yield Listing(
            digest=digest.hexdigest(),
            splits=dict(splits),
            class_names=_class_names(classes),
            unlabelled=sum(counts[split, ""] for split in counted) if classes != {""} else 0,
            others=dict(sorted(others.items())),
            _spool=spool,
        )


def _place(found: BinaryIO, placing: Placing, spool: BinaryIO) -> Counter[tuple[str, str]]:
    """Write what was found with splits and classes; return how often each pair of them occurs."""
    counts = Counter[tuple[str, str]]()
    found.seek(0)
    for line in found:
        entry = Entry.from_json(json.loads(line))
        split, label = placing(entry)
        if _NO_CLASS.fullmatch(label):
            label = ""
        spool.write(_line(entry.placed(split, label)))
        counts[split, label] += 1
        if len(counts) > _MAX_CLASSES * (len(SPLITS) + 1):
            raise InputError(f"has more than {_MAX_CLASSES} classes", item="prepare.source", remedy="check it")
    return counts


def _line(entry: Entry) -> bytes:
    return _ENCODE(entry.as_json()).encode() + b"\n"


def _check_splits(splits: Counter[str]) -> None:
    """Refuse one split without the other beside images of neither: some of them would be meant as the other."""
    given = [split for split in SPLITS if splits[split]]
    if len(given) == 1 and splits[""]:
        raise InputError(
            f"puts {splits[given[0]]} images into {given[0]} and {splits['']} into neither train nor test",
            item="prepare.source",
            remedy="call the folders train and test; a class of that name must lie in a folder train",
        )


def _check_classes(labels: dict[str, set[str]]) -> None:
    """Refuse classes that are splits further inside, and splits whose classes only differ by folders around them.

    Raises:
        InputError: If there are classes like a/train/cat beside b/test/cat, or train/x/cat beside test/cat.
    """
    if max(map(len, labels.values())) > _MAX_CLASSES:
        raise InputError(f"has more than {_MAX_CLASSES} classes", item="prepare.source", remedy="check it")
    if set(labels) == {""}:
        parts = {part.lower() for label in labels[""] if "/" in label for part in label.split("/")}
        if set(SPLITS) <= parts:
            raise InputError(
                "has the folders train and test below others, where they give no split",
                item="prepare.source",
                remedy="put train and test into one folder and nothing beside them",
            )
    train, test = (labels.get(split, set()) for split in SPLITS)
    innermost = {label.rpartition("/")[2]: label for label in train if label}
    same = sorted(label for label in test if label.rpartition("/")[2] in innermost)
    if same and not train & test:
        raise InputError(
            f"has no class in common in train and test: {innermost[same[0].rpartition('/')[2]]!r} and {same[0]!r}",
            item="prepare.source",
            remedy="call the folders of a class alike in both",
        )


def _class_names(labels: set[str]) -> list[str]:
    """The classes in order: whole numbers that are dense keep their number; other names are sorted by characters."""
    if len(labels) < 2 or "" in labels:
        return []
    if all(_NUMBER.fullmatch(label) for label in labels) and max(map(int, labels)) < max(_FEW, 2 * len(labels)):
        return [str(number) for number in range(max(map(int, labels)) + 1)]
    return sorted(labels)


def _counts(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
