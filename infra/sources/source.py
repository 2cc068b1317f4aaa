"""What a source of images is: entries found in order without decoding, then read in units."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from infra.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image of a source, as it was found.

    Attributes:
        name: What it is called, unlike any other of the source.
        file: The file that holds it, below the source; empty where the source is no file of the user's.
        size: Of that file, in bytes.
        stamp: Of that file; changes when the file does.
        at: Where in the file it is, in the source's own terms; empty where it is all of the file.
        split: `train`, `test` or `val` where the source itself says so, else empty.
        label: Its class where the source itself gives one, else empty.
        folder: The folders that it is in, '/'-separated; they may give split and class (`infra.sources.placing`).
    """

    name: str
    file: str = ""
    size: int = 0
    stamp: str = ""
    at: tuple[int, ...] = ()
    split: str = ""
    label: str = ""
    folder: str = ""

    def placed(self, split: str, label: str) -> "Entry":
        """Return it with its split and its class; its folders are spent."""
        return Entry(
            name=self.name, file=self.file, size=self.size, stamp=self.stamp, at=self.at, split=split, label=label
        )

    def as_json(self) -> list[Any]:
        """Return the entry as stored in a listing."""
        return [self.name, self.file, self.size, self.stamp, list(self.at), self.split, self.label, self.folder]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Entry":
        """Read what `as_json` returned."""
        name, file, size, stamp, at, split, label, folder = value
        return cls(name=name, file=file, size=size, stamp=stamp, at=tuple(at), split=split, label=label, folder=folder)


@dataclass(frozen=True)
class Other:
    """A file of the source that is no image, by its name; it is counted and left out."""

    name: str


# An image's bytes as stored, which its digest is taken of; or why there are none.
Content = bytes | InputError


class Source(Protocol):
    """Where images come from; sent to the workers, so it holds settings and no images."""

    def find(self) -> Iterator[Entry | Other]:
        """Find every image, in an order that depends on nothing but the source; in bounded memory.

        Raises:
            InputError: If the source is missing or cannot be listed.
        """

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read what was found: one content for each of these consecutive entries, in their order.

        Raises:
            IntegrityError: If it is not what was found.
        """

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image whose stored bytes these are.

        Raises:
            InputError: If they are none, or one beyond the limits.
        """
