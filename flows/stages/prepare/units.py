"""The units of the preparation; a worker that runs them does not load torch, which would take seconds."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from flows.options import name_options
from flows.stages.prepare.duplicates import read_duplicates
from flows.stages.prepare.layout import commit_unit, listing_entries
from infra.digests import Json, sha256
from infra.errors import InputError, Term
from infra.outputs.images import NO_LABEL, Images, encode_images
from infra.outputs.plan import Output
from infra.sources.decode import REPAIR, decoding
from infra.sources.fit import fit
from infra.sources.shape import Shape
from infra.sources.source import SPLITS, Content, Entry, Source


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that decide how an image is prepared.

    Attributes:
        shape: The shape that all images take.
        min_side: Images whose shorter side has fewer pixels are left out.
        held_out: The largest digest of a content that is held out, if the source does not give the splits; empty for
            none.
        splits_given: Whether the source gives the splits; an image in neither of them is left out.
        class_names: Names of the classes, indexed by label.
        quarantine: Set bad images aside instead of failing.
    """

    shape: Shape
    min_side: int
    held_out: str
    splits_given: bool
    class_names: tuple[str, ...]
    quarantine: bool


@dataclass(frozen=True, kw_only=True)
class PrepareTask:
    """Reads, decodes, fits and commits one part of the listing at a time.

    Attributes:
        output: The output to commit to.
        source: The source of the images.
        rules: The rules to prepare them by.
        unit_images: Entries per part; a part's ids count up from its number times this.
        duplicates: Whether the output names entries to leave out as duplicates.
    """

    output: Output
    source: Source
    rules: Rules
    unit_images: int
    duplicates: bool

    def open(self) -> Callable[[int], None]:
        """Return the function that commits one part."""
        duplicates = read_duplicates(self.output) if self.duplicates else frozenset()

        def run(unit: int) -> None:
            entries = listing_entries(self.output, unit)
            part = prepared_part(self.source, self.rules, entries, duplicates)
            images = {split: np.stack([row.pixels for row in rows]) for split, rows in part.rows.items() if rows}
            files, first = {}, unit * self.unit_images
            for split, stacked in images.items():
                facts = {"split": split, "first_id": first, "rows": len(stacked)}
                files[split] = self._encode(split, first, part.rows[split], stacked), facts
                first += len(stacked)
            account = part.account(len(entries)) | {"histogram": _histogram(images, self.rules.shape.channels)}
            commit_unit(self.output, unit, files, account)

        return run

    def _encode(self, split: str, first_id: int, rows: list["Row"], images: Images) -> bytes:
        columns = {
            "label": pa.array([row.label for row in rows], type=pa.int32()),
            "split": pa.array([split] * len(rows)),
            "name": pa.array([row.name for row in rows]),
            "sha256": pa.array([row.digest for row in rows]),
        }
        metadata = {
            "fit": self.rules.shape.rule,
            "class_names": list(self.rules.class_names),
            "split": split,
        }
        return encode_images(images, first_id, columns, metadata)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A prepared image: its name, its stored bytes' digest, its class's number and its pixels [c, h, w]."""

    name: str
    digest: str
    label: int
    pixels: Images


@dataclass(kw_only=True)
class PartRows:
    """The rows of one part by split, and the account of every entry."""

    rules: Rules
    rows: dict[str, list[Row]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    filtered: Counter[str] = field(default_factory=Counter)
    quarantined: list[Json] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._labels = {name: number for number, name in enumerate(self.rules.class_names)}

    def select(self, entries: Sequence[Entry], duplicates: frozenset[str]) -> Iterator[Entry]:
        """Yield the entries to read; count those that are left out unread."""
        for entry in entries:
            if self.rules.splits_given and not entry.split:
                self.filtered["outside train and test"] += 1
            elif entry.name in duplicates:
                self.filtered["duplicate"] += 1
            else:
                yield entry

    def take(self, source: Source, entry: Entry, content: Content) -> None:
        """Make a row of an image, or record why there is none."""
        digest = "" if isinstance(content, InputError) else sha256(content)
        try:
            if isinstance(content, InputError):
                raise content
            image = source.decode(entry, content)
            if min(image.size) < self.rules.min_side:
                self.filtered["too small"] += 1
                return
            pixels = fit(image, self.rules.shape, entry.name)
        except InputError as error:
            if not self.rules.quarantine:
                error.remedy = f"{error.remedy or 'remove it'}, or {Term.SET_ASIDE}"
                raise
            self.quarantined.append({"name": entry.name, "sha256": digest, "reason": _reason(error)})
            return
        label = self._labels.get(entry.label, NO_LABEL)
        self.rows[self._split(entry, digest)].append(Row(name=entry.name, digest=digest, label=label, pixels=pixels))

    def account(self, read: int) -> Json:
        """Return the account of the part's entries: read = written + filtered + quarantined; warnings are beside it."""
        classes = {split: Counter(row.label for row in rows) for split, rows in self.rows.items()}
        return {
            "read": read,
            "written": {split: len(rows) for split, rows in self.rows.items()},
            "filtered": dict(self.filtered),
            "quarantined": self.quarantined,
            "warnings": dict(self.warnings),
            "classes": {split: {str(label): n for label, n in counts.items()} for split, counts in classes.items()},
        }

    def _split(self, entry: Entry, digest: str) -> str:
        if self.rules.splits_given:
            return entry.split
        return "test" if digest <= self.rules.held_out else "train"


def _reason(error: InputError) -> str:
    """Return why an image is bad, with the setting that would take it, if there is one."""
    name_options(error)
    return error.cause if error.remedy in ("", REPAIR) else f"{error.cause} - {error.remedy}"


def prepared_part(source: Source, rules: Rules, entries: Sequence[Entry], duplicates: frozenset[str]) -> PartRows:
    """Read, decode and fit the images of one part.

    Args:
        source: The source of the images.
        rules: The rules to prepare them by.
        entries: The part's entries.
        duplicates: Names of entries to leave out.

    Raises:
        InputError: If an image is bad, unless the rules set it aside.
    """
    part = PartRows(rules=rules)
    selected = list(part.select(entries, duplicates))
    with decoding() as warned:
        for entry, content in zip(selected, source.read(selected), strict=True):
            part.take(source, entry, content)
            part.warnings.update(warned.kinds())
    return part


def _histogram(images: dict[str, Images], channels: int) -> list[list[int]]:
    """Count each of the 256 values per channel; Pillow does so four times as fast as numpy."""
    counts: NDArray[np.int64] = np.zeros((channels, 256), dtype=np.int64)
    for of_split in images.values():
        for channel in range(channels):
            pixels = np.ascontiguousarray(of_split[:, channel])
            counts[channel] += Image.fromarray(pixels.reshape(-1, pixels.shape[-1])).histogram()
    return [[int(count) for count in row] for row in counts]
