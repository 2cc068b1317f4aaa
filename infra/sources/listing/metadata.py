"""The labels that metadata files give to images by name, held compactly: 13 bytes per row, and each class once."""

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import numpy as np

from infra.errors import InputError, Term
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.metadata import LacksLabelsError, Row, metadata_rows, own_name, shows_no_labels
from infra.sources.formats.tables import PassedOver, split_of_table, table_kind, table_labels
from infra.sources.listing.refusals import MAX_CLASSES, too_many
from infra.sources.listing.row_names import SPELLINGS, key_of, normal, place_of, split_and_below
from infra.sources.source import Alias, Found, Metadata, Unread

MAX_ROWS = 20_000_000
MAX_LABEL_CHARS = 256
_MOST_PASSED_OVER = 3
_IGNORE = f"repair it, or set {Term.LABELS}=none or {Term.LABELS}=folder"
_SPLIT = f"put the images of each split in a folder called like it, or set {Term.LABELS}=none or {Term.LABELS}=folder"

# Reads the rows of a file, if it has any of use; the text is the column that was picked.
ReadRows = Callable[[Metadata, str], Iterator[Row] | PassedOver | None]


def read_labels(file: Metadata, picked: str) -> Iterator[Row] | PassedOver | None:
    """Return the labels in a metadata file or text table; None if it has none."""
    kind = table_kind(file.name)
    if kind is None:
        return metadata_rows(file, picked)
    return None if kind.splits else table_labels(file, picked)


class MetadataLabels:
    """The labels in all metadata files of a source.

    Rows name images relative to their file's folder. Files differ in how they spell a name: with or without the
    suffix, and with or without the folders. The strictest spelling that fits any image is used for all of them.

    A table named after a split, as train.csv is, says nothing of images in a folder of another split.

    Args:
        picked: The column or key that holds the labels; empty to find it by its name.
        read: Reads the rows of a file.

    Attributes:
        passed_over: Files that may be meant to give labels, and give none.
    """

    def __init__(self, picked: str, read: ReadRows = read_labels) -> None:
        self._picked, self._read = picked, read
        self.passed_over: list[PassedOver] = []
        self._keys, self._codes = array("Q"), array("I")
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._values = LabelValues()
        self._named = bytearray()
        self._scopes: dict[str, dict[str, None]] = {}
        self._aliases: list[Alias] = []
        self._unread: list[str] = []
        self._files: dict[str, None] = {}
        self._unreadable: InputError | None = None
        self._unlikely: InputError | None = None
        self._lacking: LacksLabelsError | None = None
        self._fits = [0] * len(SPELLINGS)

    @property
    def exists(self) -> bool:
        """Whether there is a file with labels."""
        return bool(self._files)

    @property
    def files(self) -> list[str]:
        """The own names of the files with labels."""
        return list(self._files)

    @property
    def unused(self) -> str:
        """The files that label no image, and why; empty if the files that were found do."""
        if self._files:
            return f"{' and '.join(self.files[:3])} names no image of the source" if self.spelling is None else ""
        if not self._unread:
            return ""
        return f"{self._unread[0]} is not read, since it lies in no source; set {Term.SOURCE} to its folder"

    @property
    def aliases(self) -> bytes:
        """The names that images have in another source, for the digest; empty if no file labels images."""
        if not self._files or not self._aliases:
            return b""
        return json.dumps([[alias.names, alias.others] for alias in self._aliases]).encode()

    @property
    def signs(self) -> bool:
        """Whether all labels are -1 or 1, as those of attributes are."""
        return set(self._names) == {"-1", "1"}

    @property
    def trouble(self) -> str:
        """The reason why the labels are no classes; empty if they are."""
        return f"{' and '.join(self._files)}: {self._values.trouble}" if self._values.trouble else ""

    @cached_property
    def spelling(self) -> int | None:
        """The number of the spelling to look names up by; None if no row names an image. All must have been tried."""
        # Rows of own names must not name more images than there are rows: then a name stands for several.
        fits = [count if number < 2 or count <= len(self._keys) else 0 for number, count in enumerate(self._fits)]
        return next((number for number, count in enumerate(fits) if count), None)

    def add(self, file: Metadata) -> bool:
        """Add the rows of a file; return whether it has any that can be read.

        A file that cannot be read ends the listing only if its labels are needed: see `check`.
        """
        try:
            return self._add(file)
        except LacksLabelsError as error:
            self._lacking = self._lacking or error
        except InputError as error:
            if not self._picked and shows_no_labels(file):
                self._unlikely = self._unlikely or error
                self._pass_over(PassedOver(f"{own_name(file.name)} {error.cause}; it names no labels at its beginning"))
            else:
                self._unreadable = self._unreadable or error
        return False

    def check(self, *, is_chosen: bool = True) -> None:
        """Refuse files that cannot be read; call it if their labels are needed.

        Args:
            is_chosen: Whether the user chose these labels; else files that show no labels are passed over.

        Raises:
            InputError: If one cannot be read, there are too many rows, or none has the column that was picked.
        """
        if self._unreadable is not None:
            raise self._unreadable
        if self._unlikely is not None and is_chosen:
            raise self._unlikely
        if self._lacking is not None and not self._files:
            raise self._lacking

    def _pass_over(self, file: PassedOver) -> None:
        if len(self.passed_over) < _MOST_PASSED_OVER:
            self.passed_over.append(file)

    def _add(self, file: Metadata) -> bool:
        rows = self._read(file, self._picked)
        if isinstance(rows, PassedOver):
            self._pass_over(rows)
            return False
        if rows is None:
            return False
        scope, split = file.name[: len(file.name) - len(own_name(file.name))], split_of_table(file.name)
        for name, value in rows:
            label = self._values.name(value).strip()
            if len(label) > MAX_LABEL_CHARS or not label.isprintable():
                raise InputError(f"has a label that is no name: {label[:20]!r}", item=file.name, remedy=_IGNORE)
            name = normal(name, in_archive="!" in scope)
            self._keys.append(key_of(place_of(scope, split) + (split_and_below(name)[1] if split else name)))
            self._codes.append(self._code(label))
            if len(self._keys) > MAX_ROWS:
                raise InputError(f"labels more than {MAX_ROWS:,} images", item=file.name, remedy=_IGNORE)
        self._scopes.setdefault(scope, {}).setdefault(split)
        self._files.setdefault(own_name(file.name))
        return True

    def _code(self, label: str) -> int:
        """The number of a label; beyond the most classes that a source may have, all new ones share one."""
        if label not in self._numbers:
            if len(self._names) > MAX_CLASSES:  # one label may be empty
                return len(self._names)
            self._numbers[label] = len(self._names)
            self._names.append(label)
        return self._numbers[label]

    def located(self, found: Iterable[Found]) -> Iterator[Found]:
        """Note where files lie that label images of several sources; yield everything else."""
        for one in found:
            if isinstance(one, Alias):
                self._aliases.append(one)
            elif isinstance(one, Unread):
                self._unread.append(one.path)
            else:
                yield one

    def sort(self) -> None:
        """Make all rows ready to be looked up.

        Raises:
            InputError: If two rows give one name different labels.
        """
        keys, codes = np.frombuffer(self._keys, np.uint64), np.frombuffer(self._codes, np.uint32)
        order = np.lexsort((codes, keys))
        keys, codes = keys[order], codes[order]
        if bool(((keys[1:] == keys[:-1]) & (codes[1:] != codes[:-1])).any()):
            self._values.trouble = self._values.trouble or "several labels per image"
        self._keys, self._codes = array("Q", keys.tobytes()), array("I", codes.tobytes())
        self._named = bytearray(len(keys))

    def try_name(self, name: str) -> None:
        """Count in which spellings a row names the image of this name; `spelling` rests on that."""
        if around := self._in_scope(name):
            for number, spelt in enumerate(SPELLINGS):
                self._fits[number] += any(True for _ in self._places(around, spelt))

    def label(self, name: str, split: str = "") -> str | None:
        """Return the label of the image of this name: empty if no row has one, None if no file is around the image.

        Args:
            name: The name.
            split: The split that places the image; empty if nothing tells it.

        Raises:
            InputError: If there are too many labels to tell it, or files of several splits give it different ones.
        """
        if self.spelling is None or not (around := self._in_scope(name, split)):
            return None
        places = list(self._places(around, SPELLINGS[self.spelling]))
        if not places:
            return ""
        if len({self._codes[place] for place in places}) > 1:
            files = " and ".join(self.files[:3])
            raise InputError(f"has different labels in {files}, and nothing tells its split", item=name, remedy=_SPLIT)
        place = places[0]
        self._named[place] = 1
        if self._codes[place] == len(self._names):
            raise too_many()
        return self._names[self._codes[place]]

    @property
    def unnamed(self) -> str:
        """The number of rows that name no image, for the user; empty if none. All images must have been looked up."""
        files, count = " and ".join(self.files[:3]), self._named.count(0)
        if self.spelling is None:
            return f"{files} names no image of the source"
        return f"{count:,} rows of {files} name no image" if count else ""

    def _places(self, around: list[tuple[str, str]], spelt: Callable[[str], str]) -> Iterator[int]:
        """Yield the first row that each of the files has of an image."""
        for place, name in around:
            key = key_of(place + spelt(name))
            found = bisect_left(self._keys, key)
            if found < len(self._keys) and self._keys[found] == key:
                yield found

    def _in_scope(self, name: str, split: str = "") -> list[tuple[str, str]]:
        """The files of labels around the first name of an image around which there are any, as `_around` has them."""
        others = [
            alias.others + name.removeprefix(alias.names) for alias in self._aliases if name.startswith(alias.names)
        ]
        return next((around for one in (name, *others) if (around := self._around(one, split))), [])

    def _around(self, name: str, given: str) -> list[tuple[str, str]]:
        """The files of labels in the innermost folder or archive around an image that has any for it.

        For each kind of them: its place, and the image's name from there.
        """
        end = len(name)
        while end:
            end = max(name.rfind("/", 0, end - 1), name.rfind("!", 0, end - 1)) + 1
            if (splits := self._scopes.get(name[:end])) is None:
                continue
            of, below = split_and_below(name[end:]) if any(splits) else ("", "")
            if around := [
                (place_of(name[:end], split), below if split else name[end:])
                for split in splits
                if not split or (of or given) in ("", split)
            ]:
                return around
        return []
