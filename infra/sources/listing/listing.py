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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from infra.errors import InputError, Term
from infra.sources.listing.cells import Cell, held_out_split, settled
from infra.sources.listing.choosing import chosen
from infra.sources.listing.folders import names_both
from infra.sources.listing.origins import Origins
from infra.sources.listing.placing import Placing
from infra.sources.listing.split_names import SplitNames, SplitNamesSurvey
from infra.sources.listing.survey import Survey
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import SPLITS, Entry, Other, Source

_MAX_CLASSES = 100_000
# Test sets whose labels are not published usually have a negative number instead.
_NO_CLASS = re.compile(r"-[0-9]+")
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# A whole number as Python writes it, below 100,000: 01 is a name like any other.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")
_FEW = 1000


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The contents of a source; the entries themselves are in a temporary file.

    Attributes:
        digest: Digest of every entry as found: its name, its file's size and stamp, its place, split, label and folder.
        splits: Number of entries by the split that the source gives them; the empty key counts those without a split.
        class_names: Classes by their number; empty if an entry of the splits has no class, or all have the same.
        unlabelled: Number of entries of the splits without a class, if others have one.
        others: Number of files that are not images, by suffix.
        left_out: Number of images that are not those of their samples, by key: masks and the like.
        labels_from: The origin of the classes, in words for the user; empty if there are no classes.
        splits_from: The origin of the splits, in words for the user; empty if the source gives none.
        cells: Number of entries by split and class, either of which may be empty.
    """

    digest: str
    splits: dict[str, int]
    class_names: list[str]
    unlabelled: int
    others: dict[str, int]
    left_out: dict[str, int]
    labels_from: str
    splits_from: str
    cells: dict[Cell, int]
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
def listed(source: Source, reading: Reading = BY_RULE, sought: str = "") -> Iterator[Listing]:
    """Find everything in a source, and give each image its split and its class.

    Args:
        source: The source.
        reading: What the user chose of how it is read; the source has the same.
        sought: What was looked for, for the error if there are no images, as in "of the kind zip".

    Raises:
        InputError: If it holds no images, lacks one of its splits, or has more classes than the limit.
    """
    survey, origins, split_survey = Survey(), Origins(), SplitNamesSurvey()
    with tempfile.TemporaryFile() as found, tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as moved:
        digest, others, left_out = _find(source, survey, split_survey, origins, found)
        if not found.tell():
            raise _nothing_found(others, left_out, sought)
        if (split_names := split_survey.found()) is not None:
            survey = Survey()
            _move(found, split_names, survey, moved)
            found = moved
        placing = survey.placing()
        given = _place(found, placing, origins, spool)
        changes = settled(given, from_folders=not placing.labelled)
        counts, splits = Counter[Cell](), Counter[str]()
        for cell, count in given.items():
            counts[changes[cell]] += count
            splits[changes[cell][0]] += count
        if reading.use_splits:
            _check_splits(splits, survey.hidden_splits())
        are_taken = reading.use_splits and all(splits[split] for split in SPLITS)
        counted = SPLITS if are_taken else tuple(splits)
        classes = {label for split, label in counts if split in counted}
        _check_classes(classes, may_hide_splits=reading.use_splits and set(splits) == {""} and not placing.labelled)
        class_names = _class_names(classes)
        labels_from = origins.of_labels() if placing.labelled else "folders"
        yield Listing(
            digest=digest,
            splits=dict(splits),
            class_names=class_names,
            unlabelled=sum(counts[split, ""] for split in counted) if classes != {""} else 0,
            others=dict(sorted(others.items())),
            left_out=dict(sorted(left_out.items())),
            labels_from=labels_from if class_names else "",
            splits_from=_splits_from(split_names, origins, held_out_split(given)) if are_taken else "",
            cells=dict(counts),
            _spool=spool,
            _changes={cell: change for cell, change in changes.items() if cell != change},
        )


def _find(
    source: Source, survey: Survey, split_survey: SplitNamesSurvey, origins: Origins, found: BinaryIO
) -> tuple[str, Counter[str], Counter[str]]:
    """Survey all entries and write them as found.

    Returns:
        Their digest, the number of other files by suffix, and that of images left out by key.
    """
    digest, others, left_out = hashlib.sha256(), Counter[str](), Counter[str]()
    for entry in chosen(source.find()):
        if isinstance(entry, Other) and entry.key:
            left_out[entry.key] += entry.count
            continue
        if isinstance(entry, Other):
            others[PurePosixPath(entry.name).suffix.lower()] += 1
            continue
        survey.add(entry)
        if not entry.split:
            split_survey.add(entry.folder)
        origins.add_found(entry)
        line = _line(entry)
        digest.update(line)
        found.write(line)
    return digest.hexdigest(), others, left_out


def _nothing_found(others: Counter[str], left_out: Counter[str], sought: str) -> InputError:
    if left_out:
        cause = f"holds no images of that key, but {_counts(left_out)}"
        return InputError(cause, item=Term.SOURCE, remedy=f"set {Term.IMAGE_KEY} to one of these")
    counts = f" (left out: {_counts(others)})" if others else ""
    return InputError(
        f"holds no images{counts} {sought}".strip(),
        item=Term.SOURCE,
        remedy=f"set it to the images, or {Term.SOURCE_KIND} to their format",
    )


def _move(found: BinaryIO, names: SplitNames, survey: Survey, moved: BinaryIO) -> None:
    """Write the found entries with folders of the splits' own names, and survey them anew."""
    found.seek(0)
    for line in found:
        entry = Entry.from_json(json.loads(line))
        entry = replace(entry, folder=entry.folder if entry.split else names.folder(entry.folder))
        survey.add(entry)
        moved.write(_line(entry))


def _splits_from(names: SplitNames | None, origins: Origins, held_out: str) -> str:
    return (names.words(held_out) if names else "") or origins.of_splits(("train", held_out))


def _place(found: BinaryIO, placing: Placing, origins: Origins, spool: BinaryIO) -> Counter[Cell]:
    """Write the found entries with their splits and classes; return the number of entries by cell."""
    counts = Counter[Cell]()
    found.seek(0)
    for line in found:
        entry = Entry.from_json(json.loads(line))
        split, label = placing(entry)
        if split and not entry.split:
            origins.add_named(split, placing.named_split(entry).folder)
        if _NO_CLASS.fullmatch(label):
            label = ""
        spool.write(_line(entry.placed(split, label)))
        counts[split, label] += 1
        if len(counts) > _MAX_CLASSES * 4:  # train, test, val and none
            raise InputError(f"has more than {_MAX_CLASSES} classes", item=Term.SOURCE, remedy="check it")
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
    remedy = f"{Term.TAKE_NO_SPLITS} if they are none, or name the held-out images by {Term.TEST_SOURCE}"
    raise InputError(cause, item=Term.SOURCE, remedy=remedy)


def _check_classes(labels: set[str], *, may_hide_splits: bool) -> None:
    """Refuse too many classes, and a/train/cat beside b/val/cat: these are meant as splits one folder further up."""
    if len(labels) > _MAX_CLASSES:
        raise InputError(f"has more than {_MAX_CLASSES} classes", item=Term.SOURCE, remedy="check it")
    if may_hide_splits and names_both({part for label in labels if "/" in label for part in label.split("/")}):
        raise InputError(
            "has folders called like train and test below others, so that they give no split",
            item=Term.SOURCE,
            remedy=f"{Term.TAKE_NO_SPLITS} if they are none, or name the held-out images by {Term.TEST_SOURCE}",
        )


def _class_names(labels: set[str]) -> list[str]:
    """The classes in order: dense whole numbers keep their number; other names are sorted by characters."""
    if len(labels) < 2 or "" in labels:
        return []
    if all(_NUMBER.fullmatch(label) for label in labels) and max(map(int, labels)) < max(_FEW, 2 * len(labels)):
        return [str(number) for number in range(max(map(int, labels)) + 1)]
    return sorted(labels)


def _counts(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
