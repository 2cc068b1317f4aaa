"""Two sources that the user named as splits: one of training images, the other of held-out ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from PIL import Image

from infra.errors import DdpmError, InputError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.files.pattern import REMOTE
from infra.sources.files.shared import SharedFiles, place_of
from infra.sources.formats.beside import may_label
from infra.sources.source import Alias, Content, Entry, Found, Metadata, Other, Source, Unread
from infra.sources.tally import OTHERS, Tally

_TRAIN, _TEST = "train", "test"


@dataclass(frozen=True)
class Pair:
    """A source of training images and one of held-out images, whatever splits either of them gives by itself.

    Names and files begin with `train/` or `test/`, so that equal names in both are two images. A file that both find
    is held out, also if links lead to it.

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
        with of_test_source():
            shared = SharedFiles(self.test_files)
        yield from self._aliases()
        yield from self._unread()
        empty, dropped, keys = True, False, Tally()
        for found in self.train.find():
            if not isinstance(found, Entry):
                _count(found, keys)
                yield _beside(_TRAIN, found)
            elif self.train_files.path(found.file) in shared:
                dropped = True
            else:
                empty = False
                yield _of_split(_TRAIN, found)
        if empty and dropped:
            cause = "holds no images that the held-out source does not hold"
            raise InputError(cause, item=Term.SOURCE, remedy=f"check {Term.SOURCE_KIND}, it and {Term.TEST_SOURCE}")
        if empty:
            raise _no_images(Term.SOURCE, keys, f"check {Term.SOURCE_KIND}, it and {Term.TEST_SOURCE}")
        empty, keys = True, Tally()
        with of_test_source():
            for found in self.test.find():
                empty = empty and not isinstance(found, Entry)
                _count(found, keys)
                yield _of_split(_TEST, found) if isinstance(found, Entry) else _beside(_TEST, found)
        if empty:
            raise _no_images(Term.TEST_SOURCE, keys, f"check {Term.SOURCE_KIND} and it")

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read consecutive entries, each from its source."""
        for split, of_split in groupby(entries, key=lambda entry: entry.name.partition("/")[0]):
            yield from self._source(split).read([_as_found(entry) for entry in of_split])

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode an image of either source."""
        return self._source(entry.name.partition("/")[0]).decode(_as_found(entry), content)

    def _aliases(self) -> Iterator[Alias]:
        """The names of held-out images in the training source, if it lies around them."""
        for base, prefix in self.test_files.prefixes.items():
            for around, names in self.train_files.prefixes.items():
                for one, other in ((base, around), (place_of(base), place_of(around))):
                    if f"{one}/".startswith(f"{other}/"):
                        below = f"{one}/".removeprefix(f"{other}/")
                        yield Alias(f"{_TEST}/{prefix}", f"{_TRAIN}/{names}{below}")
                        break

    def _unread(self) -> Iterator[Unread]:
        """The metadata files of this machine around both sources that neither of them finds."""
        around = [
            {folder for base in files.prefixes for folder in (base, base.rpartition("/")[0])}
            for files in (self.train_files, self.test_files)
        ]
        for folder in sorted(around[0] & around[1]):
            for path in _metadata_in(folder):
                if not self.train_files.covers(path) and not self.test_files.covers(path):
                    yield Unread(path)

    def _source(self, split: str) -> Source:
        return self.train if split == _TRAIN else self.test


@contextmanager
def of_test_source() -> Iterator[None]:
    """Let errors name the held-out source, which is read as any other."""
    try:
        yield
    except DdpmError as error:
        error.item = error.item.replace(Term.SOURCE, Term.TEST_SOURCE)
        error.remedy = error.remedy.replace(Term.SOURCE, Term.TEST_SOURCE)
        raise


def _metadata_in(folder: str) -> list[str]:
    if folder.startswith(REMOTE):
        return []
    try:
        return sorted(str(path) for path in Path(folder).iterdir() if may_label(path.name))
    except OSError:  # it is no folder, or others may not list it; this look serves a hint alone
        return []


def _count(found: Found, left_out: Tally) -> None:
    """Count the images for which something found stands, by the key for which they are left out."""
    if isinstance(found, Other) and found.key:
        left_out.add(found.key, found.count)


def _no_images(item: str, left_out: Tally, remedy: str) -> InputError:
    if not left_out:
        return InputError("holds no images", item=item, remedy=remedy)
    keys = ", ".join(f"{count} {'others' if key == OTHERS else key}" for key, count in left_out.few(5).items())
    return InputError(f"holds no images of that key, but {keys}", item=item, remedy=f"set {Term.IMAGE_KEY} otherwise")


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
