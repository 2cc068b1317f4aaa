"""The protocol of a source of images: entries are found in order without decoding, then read in units."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from infra.errors import InputError

# The splits of a data set; a source may also name `val`, see `infra.sources.listing.placing`.
SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image of a source, as it was found.

    Attributes:
        name: Its name, unique in the source.
        file: The file that holds it, below the source; empty if the source is not a file of the user's.
        size: Bytes of that file.
        stamp: Stamp of that file; changes if the file changes.
        at: Its place in the file, in the source's own terms; empty if it is the whole file.
        split: `train`, `test` or `val` if the source itself says so, else empty.
        label: Its class if the source itself gives one, else empty.
        folder: The folders around it, '/'-separated; they may give split and class (`infra.sources.listing.placing`).
        key: Its key if its sample may hold several images (`infra.sources.keys`), else empty; not stored.
        split_from: The origin of its split, in words for the user; not stored.
        label_from: The origin of its label, in words for the user; not stored.
    """

    name: str
    file: str = ""
    size: int = 0
    stamp: str = ""
    at: tuple[int, ...] = ()
    split: str = ""
    label: str = ""
    folder: str = ""
    key: str = field(default="", compare=False)
    split_from: str = field(default="", compare=False)
    label_from: str = field(default="", compare=False)

    def as_json(self) -> list[Any]:
        """Return the entry as stored in a listing."""
        return [self.name, self.file, self.size, self.stamp, list(self.at), self.split, self.label, self.folder]

    def placed_as_json(self, split: str, label: str) -> list[Any]:
        """Return the entry as stored with its split and class, and without folders, which are of no more use."""
        return [self.name, self.file, self.size, self.stamp, list(self.at), split, label, ""]

    @classmethod
    def from_json(cls, value: list[Any]) -> "Entry":
        """Read an entry from the value of `as_json`."""
        name, file, size, stamp, at, split, label, folder = value
        return cls(name=name, file=file, size=size, stamp=stamp, at=tuple(at), split=split, label=label, folder=folder)


@dataclass(frozen=True)
class Other:
    """A file of the source that is not an image, or images that are not those of their samples; counted and left out.

    Attributes:
        name: Its name.
        key: The key of the images; empty for a file that is none.
        count: How many there are.
        split: The split of the images if the source itself says so, else empty.
    """

    name: str
    key: str = ""
    count: int = 1
    split: str = ""


# The stored bytes of an image or a file, which are the input of its digest, or the reason why they cannot be read.
Content = bytes | InputError


@dataclass(frozen=True)
class Metadata:
    """A file that may name images and their labels or splits (`infra.sources.formats.metadata` and `tables`).

    Attributes:
        name: Its name, made as those of entries are; it names images relative to its own folder.
        content: Its bytes; the reason why they cannot be read ends the listing only if its labels are needed.
        start: Its first bytes if the content is not there.
    """

    name: str
    content: Content
    start: bytes = b""


@dataclass(frozen=True)
class NoClasses:
    """The source has labels that are no classes, such as several per image; then no label of its own counts.

    Attributes:
        cause: The labels and what is the matter with them, in words for the user.
        choice: The choice among them or beside them that may give classes, such as column:NUMBER; empty if there is
            none.
    """

    cause: str
    choice: str = ""


@dataclass(frozen=True)
class Alias:
    """Images of one source that another source finds too, so that its metadata files name them.

    Attributes:
        names: The beginning of their names.
        others: The beginning of their names in the other source.
    """

    names: str
    others: str


@dataclass(frozen=True)
class Unread:
    """A metadata file that names images of several sources but lies in none of them.

    Attributes:
        path: Its path.
    """

    path: str


Found = Entry | Other | Metadata | NoClasses | Alias | Unread


class Source(Protocol):
    """A source of images. It is sent to the workers, so it holds settings and no images."""

    def find(self) -> Iterator[Found]:
        """Find every image, in an order that depends on nothing but the source; in bounded memory.

        Raises:
            InputError: If the source is missing or cannot be listed.
        """

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read consecutive entries: one content per entry, in their order.

        Raises:
            IntegrityError: If a file changed since it was found.
        """

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Return the image whose stored bytes these are.

        Raises:
            InputError: If they are not an image, or one beyond the limits.
        """
