"""Two sources that the user named as splits: one of training images, the other of held-out ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from PIL import Image

from infra.errors import DdpmError, InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.source import Content, Entry, Found, Metadata, Source

_TRAIN, _TEST = "train", "test"


@dataclass(frozen=True)
class Pair:
    """A source of training images and one of held-out images, whatever splits either of them gives by itself.

    Names and files begin with `train/` or `test/`, so that equal names in both are two images. A file that both find
    is held out.

    Attributes:
        train: The training images.
        test: The held-out images.
        train_files: The files of the first.
        test_files: The files of the second.
    """

    train: Source
    test: Source
    train_files: FileSet
    test_files: FileSet

    def find(self) -> Iterator[Found]:
        """Find every image, first the training images, then the held-out ones.

        Raises:
            InputError: If either source is missing, cannot be listed, or holds no images.
        """
        empty, shares = True, self.train_files.overlaps(self.test_files)
        for found in self.train.find():
            if not isinstance(found, Entry):
                yield _beside(_TRAIN, found)
            elif not shares or not self.test_files.covers(self.train_files.path(found.file)):
                empty = False
                yield _of_split(_TRAIN, found)
        if empty:
            cause = "holds no images that the held-out source does not hold" if shares else "holds no images"
            raise InputError(cause, item=Term.SOURCE, remedy=f"check {Term.SOURCE_KIND}, it and {Term.TEST_SOURCE}")
        empty = True
        try:
            for found in self.test.find():
                empty = empty and not isinstance(found, Entry)
                yield _of_split(_TEST, found) if isinstance(found, Entry) else _beside(_TEST, found)
        except DdpmError as error:
            error.item = error.item.replace(Term.SOURCE, Term.TEST_SOURCE)
            error.remedy = error.remedy.replace(Term.SOURCE, Term.TEST_SOURCE)
            raise
        if empty:
            raise InputError("holds no images", item=Term.TEST_SOURCE, remedy=f"check {Term.SOURCE_KIND} and it")

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read consecutive entries, each from its source."""
        for split, of_split in groupby(entries, key=lambda entry: entry.name.partition("/")[0]):
            yield from self._source(split).read([_as_found(entry) for entry in of_split])

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode an image of either source."""
        return self._source(entry.name.partition("/")[0]).decode(_as_found(entry), content)

    def _source(self, split: str) -> Source:
        return self.train if split == _TRAIN else self.test


def _of_split(split: str, entry: Entry) -> Entry:
    return replace(
        entry,
        name=f"{split}/{entry.name}",
        file=f"{split}/{entry.file}",
        split=split,
        split_from=Term.SOURCE if split == _TRAIN else Term.TEST_SOURCE,
    )


def _beside(split: str, found: Found) -> Found:
    """Return something that is no image; files that name images lie beside those of their split."""
    return replace(found, name=f"{split}/{found.name}") if isinstance(found, Metadata) else found


def _as_found(entry: Entry) -> Entry:
    """Return the entry in its own source's terms."""
    return replace(entry, name=entry.name.partition("/")[2], file=entry.file.partition("/")[2])
