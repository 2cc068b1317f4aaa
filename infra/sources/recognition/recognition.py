"""The kind of a source, by its first files.

The rules, by number; tests/infra/sources/recognition/test_recognition.py has examples of each.

1. An image file is told by the end of its name. Any other file that may hold images is told by its first bytes
   (`infra.sources.recognition.marks`), and by the end of its name if these say nothing. So that a source of any size is
   recognised at once, the first `MOST_FILES` files count, and of those whose names end alike the first
   `_HEADS_PER_SUFFIX` are looked into.
2. If all these files are of one kind, the source is of that kind.
3. If there are several kinds, one counts if it has `_TIMES` as many bytes as all others together, or, of image files,
   `_TIMES` as many files. The others are left out, as files that are no images are. If no kind or more than one
   counts, the source is refused, because a guess would train on the wrong half.
4. A source without any such file is a folder; its listing says what is there instead of images. If the files are of a
   known format that is not read, or archives of archives, the source is refused with the way to convert them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from posixpath import splitext

from infra.errors import InputError, Term
from infra.sources.files.begun import BegunFileSet
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.recognition.head import Head, read_head
from infra.sources.recognition.marks import (
    FOLDER,
    NOUNS,
    Foreign,
    foreign_format,
    kind_of_content,
    kind_of_name,
    may_hold_images,
    shows_no_images,
)

NO_KIND = "no file tells another kind"
# Before the files of other kinds that are left out.
BESIDE = "; beside them, left out: "
MOST_FILES = 10_000
_HEADS_PER_SUFFIX = 8
_MOST_HEADS = 64
_TIMES = 10
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Recognised:
    """The kind of a source.

    Attributes:
        kind: The name of the kind.
        why: What told it, in words for the user.
    """

    kind: str
    why: str


@dataclass
class _Tally:
    """The files of one kind: their number, their bytes and the first of them."""

    first: str
    files: int = 0
    bytes: int = 0
    nested: list[str] = field(default_factory=list)


def recognise(files: BegunFileSet) -> Recognised:
    """Return the kind of a source, told by its first files.

    Args:
        files: The files of the source; its next `find` lists nothing twice.

    Raises:
        InputError: If the source is not there or cannot be read, if it mixes kinds so that none of them is meant
            clearly, or if it holds only files that are known and not read.
    """
    first = files.peek(MOST_FILES)
    kinds, foreign = _tallied(files, first)
    if not kinds:
        if foreign is not None:
            raise _not_read(*foreign)
        return Recognised(FOLDER, NO_KIND)
    kind = next(iter(kinds)) if len(kinds) == 1 else _largest(kinds)
    if kinds[kind].nested:
        raise _packed_twice(kind, kinds[kind])
    why = _counted(kind, kinds[kind])
    beside = ", ".join(_counted(other, tally) for other, tally in kinds.items() if other != kind)
    where = f"among the first {MOST_FILES:,} files " if len(first) == MOST_FILES else ""
    return Recognised(kind, f"{where}{why}" + (f"{BESIDE}{beside}" if beside else ""))


def _tallied(files: FileSet, found: Sequence[File]) -> tuple[dict[str, _Tally], tuple[Foreign, str] | None]:
    """Count the files of each kind; also return the first known format that is not read, with the file's path.

    A zip archive that shows no images at its beginning counts only if there is nothing else.
    """
    kinds: dict[str, _Tally] = {}
    doubtful: dict[str, _Tally] = {}
    foreign: tuple[Foreign, str] | None = None
    looked_into = Counter[str]()
    for file in found:
        kind, head = kind_of_name(file.name), None
        if kind != FOLDER and file.size and may_hold_images(file.name):
            suffix = splitext(file.name)[1].lower()
            if looked_into[suffix] < _HEADS_PER_SUFFIX and looked_into.total() < _MOST_HEADS:
                looked_into[suffix] += 1
                head = read_head(files, file)
                kind = kind_of_content(head) or kind
        if kind:
            counted = doubtful if kind == "zip" and head is not None and shows_no_images(head) else kinds
            tally = counted.get(kind) or counted.setdefault(kind, _Tally(file.name))
            tally.files += 1
            tally.bytes += file.size
            if head is not None and not tally.nested:
                tally.nested = _packed_names(kind, head)
        elif head is not None and foreign is None and (format_ := foreign_format(head)):
            foreign = format_, files.path(file.name)
    return kinds or doubtful, foreign


def _largest(kinds: dict[str, _Tally]) -> str:
    """Rule 3: the kind beside which the others do not count."""
    counting = []
    for kind, tally in kinds.items():
        others = [other for name, other in kinds.items() if name != kind]
        more_bytes = tally.bytes >= _TIMES * sum(other.bytes for other in others)
        more_files = kind == FOLDER and tally.files >= _TIMES * sum(other.files for other in others)
        if more_bytes or more_files:
            counting.append(kind)
    if len(counting) == 1:
        return counting[0]
    mixture = ", ".join(_counted(kind, tally) for kind, tally in kinds.items())
    remedy = f"set {Term.SOURCE_KIND} to {' or '.join(kinds)}; the others are then left out. Or set "
    remedy += f"{Term.SOURCE} to files of one kind"
    raise InputError(f"mixes kinds of files ({mixture})", item=Term.SOURCE, remedy=remedy)


def _packed_names(kind: str, head: Head) -> list[str]:
    """The packed files among the first of an archive, unless there is an image among them."""
    if kind not in ("zip", "tar") or any(kind_of_name(name) == FOLDER for name in head.names):
        return []
    # A plain tar archive in another is a folder of its name.
    return [name for name in head.names if kind_of_name(name) and not (kind == "tar" and name.lower().endswith(".tar"))]


def _packed_twice(kind: str, tally: _Tally) -> InputError:
    inner = tally.nested[0]
    shown = inner if len(inner) <= _LONGEST_NAME else f"...{inner[-_LONGEST_NAME:]}"
    return InputError(
        f"holds at its beginning no image files but others that may hold images, as {shown}",
        item=tally.first,
        remedy=f"unpack it and set {Term.SOURCE} to its folder, or set {Term.SOURCE_KIND} to {kind}",
    )


def _not_read(foreign: Foreign, path: str) -> InputError:
    return InputError(
        f"is {foreign.noun}, which is not read",
        item=path,
        remedy=f"{foreign.remedy} and set {Term.SOURCE} to the result",
    )


def _counted(kind: str, tally: _Tally) -> str:
    noun = NOUNS[kind]
    return f"1 {noun} ({tally.first})" if tally.files == 1 else f"{tally.files:,} {noun}s"
