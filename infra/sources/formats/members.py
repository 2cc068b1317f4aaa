"""The members of an archive as entries: which of them are images, which are labels, and which belong together."""

import json
import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from infra.errors import InputError, Term
from infra.sources.decode import REPAIR
from infra.sources.files.file import File
from infra.sources.formats.beside import is_wanted
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.metadata import MAX_METADATA_BYTES, too_large
from infra.sources.image_formats import SUFFIXES
from infra.sources.keys import PLAIN, NameKeys
from infra.sources.reading import BY_RULE, Reading
from infra.sources.source import Entry, Found, Metadata, NoClasses, Other

MAX_MEMBERS = 10_000_000
MAX_LABEL_BYTES = 64 << 10
REPACK = "pack it anew"
_NO_CLASSES = f"or set {Term.LABELS}=none to train without classes"
_MAX_NAME_BYTES = 4096
# Members that share a name up to its first dot wait in memory for their label.
_MAX_SAMPLE = 64
_MAX_LABEL_CHARS = 256


class Member(NamedTuple):
    """Something in an archive.

    Attributes:
        name: The stored name; it may be any bytes.
        at: Its place in the archive; the first number differs from that of any other member.
        is_file: False for links, devices, pipes and the like.
        text: Its content if the reader wants it (`wants_text`).
    """

    name: bytes
    at: tuple[int, ...]
    is_file: bool = True
    text: bytes | None = None


def list_members(
    file: File, members: Iterable[Member], path: str, reading: Reading = BY_RULE, key: str = ""
) -> Iterator[Found]:
    """List the images of an archive with their labels, and all other members; hidden members are left out.

    Args:
        file: The archive.
        members: Everything in it.
        path: Its path, for errors.
        reading: The user's choices.
        key: The key of images that have none by their own names and folders, if the archive is one of companions.

    Raises:
        InputError: If there are too many members, a name is too long, or a label is invalid.
    """
    seen, archive = _Seen(file.size), printable(file.name).replace("!", "\\x21")
    values = LabelValues()
    keys = NameKeys(reading.image_key, key)
    sample = _Sample("", file, reading, keys, values)
    for member in _bounded(members, path):
        stored = _stored_name(member.name, path)
        parts = [part for part in stored.split("/") if part not in ("", ".", "..")]
        if _is_hidden(parts):
            continue
        name = seen.unique(f"{archive}!{stored}", member.at[0])
        sample_key = _sample_key(parts)
        if member.is_file and is_wanted(stored, reading):
            yield Metadata(name, too_large(name) if member.text is None else member.text)
            continue
        if sample_key != sample.key:
            yield from sample.flush()
            sample = _Sample(sample_key, file, reading, keys, values)
        elif sample.is_full:
            yield from sample.flush()
        if not sample.takes(name, member, parts):
            yield Other(name)
    yield from sample.flush()
    if values.trouble:
        yield NoClasses(f"{_origin(reading)}: {values.trouble}")


def _bounded(members: Iterable[Member], path: str) -> Iterator[Member]:
    for number, member in enumerate(members):
        if number >= MAX_MEMBERS:
            raise InputError(f"holds more than {MAX_MEMBERS} members", item=path, remedy="split it")
        yield member


def _stored_name(name: bytes, path: str) -> str:
    if len(name) > _MAX_NAME_BYTES:
        raise InputError(f"has a member whose name is {len(name)} bytes long", item=path, remedy=REPACK)
    return printable(name.decode("utf-8", "surrogateescape"))


def _sample_key(parts: list[str]) -> str:
    """The name of a member up to the first dot after its folders."""
    return "/".join([*parts[:-1], *(part.partition(".")[0] for part in parts[-1:])])


def wants_text(name: bytes, size: int, reading: Reading) -> bool:
    """Tell whether the content of a member of that name and size is needed along with its name."""
    if size <= MAX_LABEL_BYTES and _may_label(name, reading):
        return True
    return size <= MAX_METADATA_BYTES and is_wanted(name.decode("utf-8", "replace"), reading)


def _may_label(name: bytes, reading: Reading) -> bool:
    """Whether a member of that name may hold the label of an image; only a .json has keys to pick from."""
    suffixes = (b".json",) if reading.picked else (b".cls", b".cls.txt", b".json")
    return reading.sidecars and name.lower().endswith(suffixes)


def _origin(reading: Reading) -> str:
    return f"key {reading.picked} of .json files" if reading.picked else ".json files"


def printable(text: str) -> str:
    """Text on one line without control characters; different texts stay different."""
    if text.isprintable() and "\\" not in text:
        return text
    kept = (char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode() for char in text)
    return "".join(kept)


def _is_hidden(parts: list[str]) -> bool:
    return any(part[0] == "." or part == "__MACOSX" for part in parts)


class _Seen:
    """Makes the names of one archive differ.

    A set of ten million names would take too much memory, so this is a Bloom filter. It never misses a name that it
    has seen. A few in a million new names look known and get a number that they do not need, the same each time.
    """

    def __init__(self, size: int) -> None:
        self._bits = 1 << min(max(size.bit_length(), 24), 27)
        self._table = bytearray(self._bits // 8)

    def unique(self, name: str, number: int) -> str:
        while self._add(name):
            name = f"{name}#{number}"
        return name

    def _add(self, name: str) -> bool:
        known = True
        for value in struct.unpack("<4L", blake2b(name.encode(), digest_size=16).digest()):
            place, bit = divmod(value % self._bits, 8)
            if not self._table[place] >> bit & 1:
                known = False
                self._table[place] |= 1 << bit
        return known


class _Sample:
    """Neighbours in an archive that share their name up to its first dot."""

    def __init__(self, key: str, file: File, reading: Reading, keys: NameKeys, values: LabelValues) -> None:
        self.key, self._file, self._reading, self._keys, self._values = key, file, reading, keys, values
        self.images: list[tuple[str, tuple[int, ...], str, str]] = []
        self.sidecars: list[tuple[str, bytes | None]] = []
        self._label, self._label_from, self._listed = "", "", False

    def takes(self, name: str, member: Member, parts: list[str]) -> bool:
        """Add the member if it is an image or may label one; return whether it is."""
        stem, dot, suffix = "/".join(parts).rpartition(".")
        is_image = member.is_file and dot + suffix.lower() in SUFFIXES
        if is_image:
            self.images.append((name, member.at, "/".join(parts[:-1]), self._keys.of(stem, dot + suffix)))
        elif member.is_file and _may_label(member.name, self._reading):
            self.sidecars.append((name, member.text))
            return True
        return is_image

    @property
    def is_full(self) -> bool:
        return len(self.images) + len(self.sidecars) >= _MAX_SAMPLE

    def flush(self) -> Iterator[Entry | Other]:
        """List the members so far; a label stays for the rest of the sample."""
        # .cls comes before .json because it has no other purpose.
        for name, text in sorted(self.sidecars, key=lambda sidecar: sidecar[0].lower().endswith(".json")):
            is_used, is_json = bool(self.images or self._listed), name.lower().endswith(".json")
            if not is_used and not is_json and self._is_label(name, text):
                raise InputError(
                    "labels no image beside it", item=name, remedy=f"{REPACK}: 7.cls next to 7.png; {_NO_CLASSES}"
                )
            label = self._label_in(name, text) if is_used and not (is_json and self._label) else ""
            if not label:
                yield Other(name)
            elif self._listed:
                raise InputError(
                    f"labels a sample of more than {_MAX_SAMPLE} members", item=name, remedy=f"{REPACK}, {_NO_CLASSES}"
                )
            elif self._label and label != self._label:
                cause = f"calls images {label!r} that another label calls {self._label!r}"
                raise InputError(cause, item=name, remedy=f"let names differ before their first dot, {_NO_CLASSES}")
            if label and not self._label:
                self._label, self._label_from = label, _origin(self._reading) if is_json else ".cls files"
        yield from self._entries()
        self._listed = self._listed or bool(self.images)
        self.images, self.sidecars = [], []

    def _entries(self) -> Iterator[Entry | Other]:
        file = self._file
        for name, at, folder, key in self.images:
            if not self._keys.takes(key):
                yield Other(name, key=key or PLAIN)
                continue
            yield Entry(
                name=name,
                file=file.name,
                size=file.size,
                stamp=file.stamp,
                at=at,
                label=self._label,
                folder=folder,
                key=self._keys.waits(key),
                label_from=self._label_from,
            )

    def _is_label(self, name: str, text: bytes | None) -> bool:
        try:
            return bool(self._label_in(name, text))
        except InputError:
            return False

    def _label_in(self, name: str, text: bytes | None) -> str:
        """The text of a .cls, or the label in a .json; empty if the .json has none."""
        if text is None and name.lower().endswith(".json"):  # it is larger than any label, so it is something else
            return ""
        if text is None:
            raise InputError(
                f"is no label: larger than {MAX_LABEL_BYTES >> 10} KiB", item=name, remedy=f"{REPAIR}, {_NO_CLASSES}"
            )
        try:
            value = text.decode("utf-8")
            if name.lower().endswith(".json"):
                found = json.loads(value)
                found = found.get(self._reading.picked or "label") if isinstance(found, dict) else None
                value = self._values.name(found)
                if not value and (found is None or self._values.trouble):
                    return ""
        except (ValueError, RecursionError) as error:
            raise InputError(f"is no label ({error})", item=name, remedy=f"{REPAIR}, {_NO_CLASSES}") from error
        return _checked(value, name)


def _checked(value: str, name: str) -> str:
    """A label without space around it, if it can be one."""
    value = value.strip()
    if not value or not value.isprintable() or len(value) > _MAX_LABEL_CHARS:
        raise InputError(f"is no label: {value[:20]!r}", item=name, remedy=f"{REPAIR}, {_NO_CLASSES}")
    return value
