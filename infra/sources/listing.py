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
from infra.sources.placing import SPLITS, Place, Placing, Survey, names_both, settled
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
    _changes: dict[Place, Place]

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
        lines = map(self._settled, self._spool) if self._changes else iter(self._spool)
        while part := b"".join(islice(lines, length)):
            yield part

    def _settled(self, line: bytes) -> bytes:
        entry = Entry.from_json(json.loads(line))
        place = entry.split, entry.label
        return _line(entry.placed(*self._changes.get(place, place)))


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
        placing = survey.placing()
        given = _place(found, placing, spool)
        changes = settled(given, from_folders=not placing.labelled)
        counts, splits = Counter[Place](), Counter[str]()
        for place, count in given.items():
            counts[changes[place]] += count
            splits[changes[place][0]] += count
        _check_splits(splits, survey.hidden_splits())
        counted = SPLITS if all(splits[split] for split in SPLITS) else tuple(splits)
        classes = {label for split, label in counts if split in counted}
        _check_classes(classes, may_hide_splits=set(splits) == {""} and not placing.labelled)
        yield Listing(
            digest=digest.hexdigest(),
            splits=dict(splits),
            class_names=_class_names(classes),
            unlabelled=sum(counts[split, ""] for split in counted) if classes != {""} else 0,
            others=dict(sorted(others.items())),
            _spool=spool,
            _changes={place: change for place, change in changes.items() if place != change},
        )


def _place(found: BinaryIO, placing: Placing, spool: BinaryIO) -> Counter[Place]:
    """Write what was found with splits and classes; return how often each pair of them occurs."""
    counts = Counter[Place]()
    found.seek(0)
    for line in found:
        entry = Entry.from_json(json.loads(line))
        split, label = placing(entry)
        if _NO_CLASS.fullmatch(label):
            label = ""
        spool.write(_line(entry.placed(split, label)))
        counts[split, label] += 1
        if len(counts) > _MAX_CLASSES * 4:  # train, test, val and none
            raise InputError(f"has more than {_MAX_CLASSES} classes", item="prepare.source", remedy="check it")
    return counts


def _line(entry: Entry) -> bytes:
    return _ENCODE(entry.as_json()).encode() + b"\n"


def _check_splits(splits: Counter[str], hidden: list[str]) -> None:
    """Refuse splits that are not told apart: one without the other, or names that only have theirs in them."""
    given = [split for split in SPLITS if splits[split]]
    if len(given) == 1 and splits[""]:
        cause = f"puts {splits[given[0]]} images into {given[0]} and {splits['']} into neither train nor test"
    elif not given and hidden:
        cause = f"has folders called {hidden[0]} and {hidden[1]}, which give no split"
    else:
        return
    remedy = "call the folders train and test; classes of such names must lie in a folder train"
    raise InputError(cause, item="prepare.source", remedy=remedy)


def _check_classes(labels: set[str], *, may_hide_splits: bool) -> None:
    """Refuse too many, and classes like a/train/cat beside b/val/cat: they are meant as splits, a folder further up."""
    if len(labels) > _MAX_CLASSES:
        raise InputError(f"has more than {_MAX_CLASSES} classes", item="prepare.source", remedy="check it")
    if may_hide_splits and names_both({part for label in labels if "/" in label for part in label.split("/")}):
        raise InputError(
            "has folders called like train and test below others, where they give no split",
            item="prepare.source",
            remedy="put train and test into one folder and nothing beside them",
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
