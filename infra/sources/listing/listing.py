"""The listing of a source: every entry found once, counted, digested and cut into parts.

Memory stays bounded however many entries there are: they live in temporary files, one line of JSON each, and only
counts stay in memory. That is why an entry is written and parsed more than once. The first file holds the entries as
found; after the last of them the names of all folders are known, and the second file adds splits and classes; after
the last of those all classes are known, and `Listing.parts` applies what is settled only then, if anything changes.
"""

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from infra.digests import sha256
from infra.errors import InputError, Term
from infra.sources.listing.cells import Cell, held_out_split, settled
from infra.sources.listing.folders import names_both
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.listing.origins import Origins
from infra.sources.listing.placing import Placing
from infra.sources.listing.ruling import LabelRule, decide, origin_of, refusal
from infra.sources.listing.survey import Survey
from infra.sources.reading import AUTO, BY_RULE, NONE, Reading
from infra.sources.source import SPLITS, Entry, Metadata, NoClasses, Other, Source

_MAX_CLASSES = 100_000
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# A whole number as Python writes it: 01 is a name like any other.
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The contents of a source; the entries themselves are in a temporary file.

    Attributes:
        digest: Digest of every entry as found: its name, its file's size and stamp, its place, split, label and folder.
        splits: Number of entries by the split that the source gives them; the empty key counts those without a split.
        class_names: Classes by their number; empty if an entry of the splits has no class, or all have the same.
        unlabelled: Number of entries of the splits without a class, if others have one.
        others: Number of files that are not images, by suffix.
        labels_from: The origin of the classes, in words for the user; empty if there are no classes.
        labels_note: What was passed over for the classes and how to choose it, for the user; may hold a `Term`.
        splits_from: The origin of the splits, in words for the user; empty if the source gives none.
    """

    digest: str
    splits: dict[str, int]
    class_names: list[str]
    unlabelled: int
    others: dict[str, int]
    labels_from: str
    labels_note: str
    splits_from: str
    _spool: BinaryIO
    _changes: dict[Cell, Cell]

    @property
    def count(self) -> int:
        """The number of entries."""
        return sum(self.splits.values())

    @property
    def splits_given(self) -> bool:
        """True if the source itself names both splits; images that it puts into neither are left out."""
        return all(self.splits.get(split) for split in SPLITS)

    def parts(self, length: int) -> Iterator[bytes]:
        """The entries in order as stored lines, `length` lines per part."""
        self._spool.seek(0)
        lines = map(self._settled, self._spool) if self._changes else iter(self._spool)
        while part := b"".join(islice(lines, length)):
            yield part

    def _settled(self, line: bytes) -> bytes:
        entry = Entry.from_json(json.loads(line))
        cell = entry.split, entry.label
        return _line(entry.placed(*self._changes.get(cell, cell)))


def part_entries(part: bytes) -> list[Entry]:
    """Read a stored part."""
    return [Entry.from_json(json.loads(line)) for line in part.splitlines()]


@contextmanager
def listed(source: Source, reading: Reading = BY_RULE) -> Iterator[Listing]:
    """Find everything in a source, and give each image its split and its class.

    Args:
        source: The source.
        reading: What the user chose of how it is read; the source has the same.

    Raises:
        InputError: If it holds no images, lacks one of its splits, has more classes than the limit, or has no classes
            where the user chose that it has.
    """
    survey, origins, metadata = Survey(), Origins(), MetadataLabels(reading.picked)
    with tempfile.TemporaryFile() as found, tempfile.TemporaryFile() as spool:
        things = _find(source, survey, origins, metadata, found)
        if metadata.files:
            _try_names(found, metadata)
        ruling = decide(reading, survey, metadata, things.no_classes)
        placing = Placing.of(survey, ruling.rule, reading.label_depth, metadata)
        given = _place(found, placing, origins, spool)
        by_folder = ruling.rule is LabelRule.FOLDER
        changes = settled(given, from_folders=by_folder, depth=reading.label_depth)
        counts, splits = Counter[Cell](), Counter[str]()
        for cell, count in given.items():
            counts[changes[cell]] += count
            splits[changes[cell][0]] += count
        _check_splits(splits, survey.hidden_splits())
        counted = SPLITS if all(splits[split] for split in SPLITS) else tuple(splits)
        classes = {label for split, label in counts if split in counted}
        _check_classes(classes)
        if by_folder and set(splits) == {""}:
            _check_hidden_splits(path for _, path in given)
        class_names = _class_names(classes)
        unlabelled = sum(counts[split, ""] for split in counted) if classes != {""} else 0
        if reading.labels not in (AUTO, NONE) and not class_names:
            raise refusal(reading.labels, ruling, classes, unlabelled)
        yield Listing(
            digest=things.digest,
            splits=dict(splits),
            class_names=class_names,
            unlabelled=unlabelled,
            others=dict(sorted(things.others.items())),
            labels_from=origin_of(ruling.rule, origins, metadata) if class_names else "",
            labels_note=ruling.note,
            splits_from=origins.of_splits(("train", held_out_split(given))) if counted == SPLITS else "",
            _spool=spool,
            _changes={cell: change for cell, change in changes.items() if cell != change},
        )


@dataclass(frozen=True, kw_only=True)
class _Things:
    """What a source holds beside its images: their digest, other files by suffix, and why its labels are no classes."""

    digest: str
    others: Counter[str]
    no_classes: str


def _find(source: Source, survey: Survey, origins: Origins, metadata: MetadataLabels, found: BinaryIO) -> _Things:
    """Survey all entries and write them as found."""
    digest, others, no_classes = hashlib.sha256(), Counter[str](), ""
    for entry in source.find():
        match entry:
            case Entry():
                survey.add(entry)
                origins.add_found(entry)
                line = _line(entry)
                digest.update(line)
                found.write(line)
            case Metadata() if metadata.add(entry):
                digest.update(_ENCODE([entry.name, sha256(entry.content)]).encode())
            case NoClasses(cause):
                no_classes = no_classes or cause
            case Other(name) | Metadata(name):
                others[PurePosixPath(name).suffix.lower()] += 1
    survey.finish()
    if not found.tell():
        left_out = f" (left out: {_counts(others)})" if others else ""
        raise InputError(f"holds no images{left_out}", item=Term.SOURCE, remedy=f"check {Term.SOURCE_KIND} and it")
    return _Things(digest=digest.hexdigest(), others=others, no_classes=no_classes)


def _try_names(found: BinaryIO, metadata: MetadataLabels) -> None:
    """Look all images up, because how metadata files spell names shows only then."""
    metadata.sort()
    found.seek(0)
    for line in found:
        metadata.try_name(json.loads(line)[0])


def _place(found: BinaryIO, placing: Placing, origins: Origins, spool: BinaryIO) -> Counter[Cell]:
    """Write the found entries with their splits and classes; return the number of entries by cell."""
    counts = Counter[Cell]()
    found.seek(0)
    for line in found:
        entry = Entry.from_json(json.loads(line))
        split, label = placing(entry)
        if split and not entry.split:
            origins.add_named(split, placing.named_split(entry).folder)
        spool.write(_line(entry.placed(split, label)))
        counts[split, label] += 1
        if len(counts) > _MAX_CLASSES * 4:  # train, test, val and none
            raise _too_many()
    return counts


def _line(entry: Entry) -> bytes:
    return _ENCODE(entry.as_json()).encode() + b"\n"


def _check_splits(splits: Counter[str], hidden: list[str]) -> None:
    """Refuse one split without the other, and folders that look like splits but name none (rule 8 of the placing)."""
    given = [split for split in SPLITS if splits[split]]
    if len(given) == 1 and splits[""]:
        cause = f"puts {splits[given[0]]} images into {given[0]} and {splits['']} into neither train nor test"
    elif not given and hidden:
        cause = f"has folders called {hidden[0]} and {hidden[1]}, which give no split"
    else:
        return
    remedy = "call the folders train and test; classes of such names must lie in a folder train"
    raise InputError(cause, item=Term.SOURCE, remedy=remedy)


def _check_classes(labels: set[str]) -> None:
    if len(labels) > _MAX_CLASSES:
        raise _too_many()


def _too_many() -> InputError:
    remedy = f"set {Term.LABELS}=none to train without classes"
    return InputError(f"has more than {_MAX_CLASSES} classes", item=Term.SOURCE, remedy=remedy)


def _check_hidden_splits(paths: Iterable[str]) -> None:
    """Refuse a/train/cat beside b/val/cat: these are meant as splits one folder further up."""
    if names_both({part for path in paths if "/" in path for part in path.split("/")}):
        raise InputError(
            "has folders called like train and test below others, so that they give no split",
            item=Term.SOURCE,
            remedy="put train and test into one folder and nothing beside them",
        )


def _class_names(labels: set[str]) -> list[str]:
    """The classes in order: whole numbers by value, other names by characters."""
    if len(labels) < 2 or "" in labels:
        return []
    if all(_NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _counts(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
