"""The listing of a source: every entry found once, counted, digested and cut into parts.

Memory stays bounded however many entries there are: they live in temporary files, one line of JSON each, and only
counts stay in memory. That is why an entry is written and parsed more than once. The first file holds the entries as
found; after the last of them the names of all folders are known, and the second file adds splits and classes; after
the last of those all classes are known, and `Listing.parts` applies what is settled only then, if anything changes.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, BinaryIO

from infra.digests import sha256
from infra.sources.listing.cells import Cell, changed, classes_in, held_out_split, settled
from infra.sources.listing.choosing import Doubtful, chosen
from infra.sources.listing.file_names import short_suffix
from infra.sources.listing.left_out import LeftOut
from infra.sources.listing.metadata import MetadataLabels
from infra.sources.listing.origins import Origins
from infra.sources.listing.partition import Partition
from infra.sources.listing.placing import Placing
from infra.sources.listing.refusals import (
    MAX_CLASSES,
    check_classes,
    check_hidden_splits,
    check_splits,
    nothing_found,
    too_many,
)
from infra.sources.listing.ruling import (
    LabelRule,
    decide,
    labels_note,
    origin_of,
    refusal,
    with_bare_splits,
)
from infra.sources.listing.split_names import SplitNames, SplitNamesSurvey
from infra.sources.listing.survey import Survey
from infra.sources.reading import AUTO, BY_RULE, NONE, Reading
from infra.sources.source import SPLITS, Entry, Metadata, NoClasses, Other, Source
from infra.sources.tally import Tally

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# Of bytes, json.loads would guess the encoding of each line anew.
_DECODE = json.JSONDecoder().decode


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The contents of a source; the entries themselves are in a temporary file.

    Attributes:
        digest: Digest of every entry as found: its name, its file's size and stamp, its place, split, label and folder.
        splits: Number of entries by the split that the source gives them; the empty key counts those without a split.
        class_names: Classes by their number; empty if an entry lacks the class that it must have, or all have the same.
        unlabelled: Number of entries without a class, if that takes the classes of others away.
        others: Number of files that are not images, by suffix; rare suffixes together as `OTHERS`.
        left_out: Number of images that are not those of their samples, by key: masks and the like; rare keys together
            as `OTHERS`.
        doubtful: Number of images that are taken although they may be such, by key.
        labels_from: The origin of the classes, in words for the user; empty if there are no classes.
        labels_note: What was passed over for the classes and how to choose it, for the user; may hold a `Term`.
        splits_from: The origin of the splits, in words for the user; empty if the source gives none.
        splits_note: What was passed over of the tables that give splits, for the user.
        cells: Number of entries by split and class, either of which may be empty.
    """

    digest: str
    splits: dict[str, int]
    class_names: list[str]
    unlabelled: int
    others: dict[str, int]
    left_out: dict[str, int]
    doubtful: dict[str, int]
    labels_from: str
    labels_note: str
    splits_from: str
    splits_note: str
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
        entry = Entry.from_json(_DECODE(line.decode()))
        cell = entry.split, entry.label
        return _line(entry.placed_as_json(*self._changes.get(cell, cell)))


def part_entries(part: bytes) -> list[Entry]:
    """Read a stored part."""
    return [Entry.from_json(_DECODE(line.decode())) for line in part.splitlines()]


@contextmanager
def listed(source: Source, reading: Reading = BY_RULE, sought: str = "") -> Iterator[Listing]:
    """Find everything in a source, and give each image its split and its class.

    Args:
        source: The source.
        reading: What the user chose of how it is read; the source has the same.
        sought: What was looked for, for the error if there are no images, as in "of the kind zip".

    Raises:
        InputError: If it holds no images, lacks one of its splits, has too many classes, or none of the chosen rule.
    """
    survey, origins, split_survey = Survey(), Origins(), SplitNamesSurvey()
    metadata, partition = MetadataLabels(reading.picked), Partition()
    with tempfile.TemporaryFile() as found, tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as moved:
        things = _find(source, survey, split_survey, origins, (partition, metadata), found)
        if not found.tell():
            raise nothing_found(things.others, things.left_out.keys, sought)
        if (split_names := split_survey.found()) is not None:
            survey = Survey()
            _move(found, split_names, survey, moved)
            found = moved
        _try_names(found, metadata, partition)
        ruling = decide(reading, survey, metadata, things.no_classes)
        placing = Placing.of(survey, ruling, reading.label_depth, metadata, partition)
        given = _place(found, placing, origins, spool)
        by_folder = ruling.rule is LabelRule.FOLDER
        changes = settled(given, from_folders=by_folder, depth=reading.label_depth)
        counts, splits = changed(given, changes)
        if reading.use_splits:
            check_splits(splits, survey.hidden_splits(), things.left_out)
        are_taken = reading.use_splits and all(splits[split] for split in SPLITS)
        classes = classes_in(counts, SPLITS if are_taken else tuple(splits), are_taken=are_taken)
        check_classes(classes.found)
        if reading.use_splits and by_folder and set(splits) == {""}:
            check_hidden_splits(path for _, path in given)
        class_names, by_folders = classes.names, placing.outside.has_classes
        ruling = with_bare_splits(ruling, classes, given, origins, metadata, with_choices=reading.labels == AUTO)
        if reading.labels not in (AUTO, NONE) and not class_names:
            raise refusal(reading.labels, ruling, classes)
        yield Listing(
            digest=_digest(things, placing, has_bare=bool(class_names and (classes.bare or ruling.by_names_in_train))),
            splits=dict(splits),
            class_names=class_names,
            unlabelled=classes.unlabelled,
            others=things.others.few(),
            left_out=things.left_out.keys.few(),
            doubtful=things.doubtful,
            labels_from=origin_of(ruling.rule, origins, metadata, folders=by_folders) if class_names else "",
            labels_note=labels_note(ruling, metadata),
            splits_from=_splits_from(split_names, origins, partition, held_out_split(given)) if are_taken else "",
            splits_note=partition.note,
            cells=dict(counts),
            _spool=spool,
            _changes={cell: change for cell, change in changes.items() if cell != change},
        )


@dataclass(frozen=True)
class _Things:
    """The contents of a source, as the first pass found them.

    Attributes:
        digest: Of its images and of the files that label them.
        others: Other files by suffix.
        left_out: Images left out because of their key.
        doubtful: Images taken that may be companions of others, by key.
        no_classes: Why its labels are no classes; None if they are, or if it has none.
    """

    digest: str
    others: Tally
    left_out: LeftOut
    doubtful: dict[str, int]
    no_classes: NoClasses | None


def _find(
    source: Source,
    survey: Survey,
    split_survey: SplitNamesSurvey,
    origins: Origins,
    tables: tuple[Partition, MetadataLabels],
    found: BinaryIO,
) -> _Things:
    """Survey all entries and write them as found."""
    digest, others, left_out = hashlib.sha256(), Tally(), LeftOut()
    no_classes: NoClasses | None = None
    doubtful: dict[str, int] = {}
    _, metadata = tables
    for entry in chosen(metadata.located(source.find())):
        match entry:
            case Entry():
                survey.add(entry)
                split_survey.add(entry.folder, entry.split)
                origins.add_found(entry)
                line = _line(entry.as_json())
                digest.update(line)
                found.write(line)
            case Metadata(name, content) if any(table.add(entry) for table in tables) and isinstance(content, bytes):
                digest.update(_ENCODE([name, sha256(content)]).encode())
            case NoClasses():
                no_classes = no_classes or entry
            case Doubtful(key, count):
                doubtful[key] = count
            case Other() if entry.key:
                left_out.add(entry)
            case Other(name) | Metadata(name):
                others.add(short_suffix(name))
    survey.finish()
    digest.update(metadata.aliases)
    return _Things(digest.hexdigest(), others, left_out, doubtful, no_classes)


def _move(found: BinaryIO, names: SplitNames, survey: Survey, moved: BinaryIO) -> None:
    """Write the found entries with folders of the splits' own names, and survey them anew."""
    found.seek(0)
    for line in found:
        entry = Entry.from_json(_DECODE(line.decode()))
        entry = replace(entry, folder=entry.folder if entry.split else names.folder(entry.folder))
        survey.add(entry)
        moved.write(_line(entry.as_json()))
    survey.finish()


def _digest(things: _Things, placing: Placing, *, has_bare: bool) -> str:
    """The digest; it is another if an earlier version took other classes: one of a folder of images, or none at all."""
    changed = ["no class of a folder of images"] if placing.outside.in_images else []
    changed += ["held-out images without a class"] if has_bare else []
    return sha256(_ENCODE([things.digest, *changed]).encode()) if changed else things.digest


def _splits_from(names: SplitNames | None, origins: Origins, partition: Partition, held_out: str) -> str:
    by_tables = origins.of_splits(("train", held_out)) if partition.is_used else ""
    return by_tables or (names.words(held_out) if names else "") or origins.of_splits(("train", held_out))


def _try_names(found: BinaryIO, metadata: MetadataLabels, partition: Partition) -> None:
    """Look all images up, because how metadata files spell names shows only then."""
    partition.check()
    for table in (one for one in (metadata, partition) if one.exists):
        table.sort()
        found.seek(0)
        for line in found:
            table.try_name(_DECODE(line.decode())[0])


def _place(found: BinaryIO, placing: Placing, origins: Origins, spool: BinaryIO) -> Counter[Cell]:
    """Write the found entries with their splits and classes; return the number of entries by cell.

    If there are too many folders below the classes, rule 7 does without them.
    """
    counts = Counter[Cell]()
    found.seek(0)
    spool.seek(0)
    spool.truncate()
    for line in found:
        entry = Entry.from_json(_DECODE(line.decode()))
        split, label = placing(entry)
        if split and not entry.split:
            named = placing.named_split(entry)
            if named.by_table:
                origins.add_table(split, placing.partition.tables)
            else:
                origins.add_named(split, named.folder)
        spool.write(_line(entry.placed_as_json(split, label)))
        counts[split, label] += 1
        if len(counts) > MAX_CLASSES * 4:  # train, test, val and none
            if (fewer := placing.without_deeper) is None:
                raise too_many()
            return _place(found, fewer, origins, spool)
    return counts


def _line(stored: list[Any]) -> bytes:
    return _ENCODE(stored).encode() + b"\n"
