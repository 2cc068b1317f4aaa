"""The table of marks: what tells the kind of one file, by its first bytes or, if these say nothing, by its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import splitext

from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.tar_stream import BZIP2
from infra.sources.formats.zip_members import ZIP_MARKS
from infra.sources.image_formats import SUFFIXES, begins_like_image
from infra.sources.recognition.head import Head, read_head

FOLDER = "folder"
# Files beside images; they hold no images themselves, and there may be one per image, so they are not looked into.
_TEXTS = frozenset({".cls", ".csv", ".html", ".json", ".jsonl", ".log", ".md", ".txt", ".tsv", ".xml", ".yaml", ".yml"})
_CIFAR = re.compile(r"(data_batch_\d{1,3}|test_batch)(\.bin)?|batches\.meta(\.txt)?")
_CIFAR_100 = re.compile(r"cifar-?100[^/]*/((train|test)(\.bin)?|meta|fine_label_names\.txt)")
_CIFAR_100_SPLIT = re.compile(r"(train|test)(\.bin)?")
_CIFAR_100_RECORD = 2 + 3 * 32 * 32
_IDX_TYPES = frozenset(b"\x08\x09\x0b\x0c\x0d\x0e")
_MAX_IDX_DIMS = 4
# The number in the header of the first page.
_LMDB, _LMDB_PLACE = b"\xde\xc0\xef\xbe", 16


@dataclass(frozen=True)
class Mark:
    """The mark by which a file is known to be of a kind.

    Attributes:
        kind: The name of the kind.
        noun: Such a file, in words.
        fits: Whether the beginning of a file is that of this kind.
        suffixes: The ends of the names of such files, in lower case; they count if the content says nothing.
    """

    kind: str
    noun: str
    fits: Callable[[Head], bool]
    suffixes: tuple[str, ...] = ()


def _is_cifar(head: Head) -> bool:
    own = PurePosixPath(head.name).name
    if split := _CIFAR_100_SPLIT.fullmatch(own):
        # These names are common ones. The binary version has records of one size, the other is a pickle.
        return head.size % _CIFAR_100_RECORD == 0 if split[2] else head.data.startswith(b"\x80")
    members = any(_CIFAR.fullmatch(PurePosixPath(name).name) or _CIFAR_100.fullmatch(name) for name in head.tar_names)
    return members or bool(_CIFAR.fullmatch(own))


def _is_arrays(head: Head) -> bool:
    return head.data.startswith(b"\x93NUMPY") or (
        bool(head.zip_names) and all(name.endswith(".npy") for name in head.zip_names)
    )


def _is_arrow(head: Head) -> bool:
    # A file of Arrow, or a stream: then a mark and the length of its schema, which is not 0.
    return head.data.startswith(b"ARROW1") or (head.data.startswith(b"\xff" * 4) and head.data[4:8] > b"\0" * 4)


def _is_idx(head: Head) -> bool:
    start = head.unpacked[:4]
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _IDX_TYPES and 1 <= start[3] <= _MAX_IDX_DIMS


def _is_zip(head: Head) -> bool:
    # Office documents and PyTorch's weights are zip archives too. A damaged archive shows no names.
    return head.data.startswith(ZIP_MARKS) and not shows_no_images(head)


def _is_tar(head: Head) -> bool:
    # A block of bzip2 may be larger than the bytes looked at.
    packed = not head.unpacked and bool(BZIP2.match(head.data))
    return packed or head.unpacked[257:262] == b"ustar" or bool(head.tar_names)


# In this order, because an .npz is a zip archive too, and CIFAR comes as a tar archive. A new kind is a line here.
MARKS = (
    Mark("cifar", "CIFAR file", _is_cifar),
    Mark("arrays", "NumPy file", _is_arrays, (".npz", ".npy")),
    Mark("parquet", "Parquet file", lambda head: head.data.startswith(b"PAR1"), (".parquet",)),
    Mark("arrow", "Arrow file", _is_arrow, (".arrow", ".feather")),
    Mark("lmdb", "LMDB database", lambda head: head.data[_LMDB_PLACE:].startswith(_LMDB), (".mdb",)),
    Mark("mat", "MATLAB file", lambda head: head.data.startswith(b"MATLAB "), (".mat",)),
    Mark("idx", "idx file", _is_idx, ("-ubyte", "-ubyte.gz")),
    Mark("zip", "zip archive", _is_zip, (".zip",)),
    Mark("tar", "tar archive", _is_tar, (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")),
)
NOUNS = {FOLDER: "image file"} | {mark.kind: mark.noun for mark in MARKS}


@dataclass(frozen=True)
class Foreign:
    """A format that is known and not read.

    Attributes:
        noun: Such a file with its article, in words.
        starts: How its content begins.
        remedy: How to convert it.
    """

    noun: str
    starts: tuple[bytes, ...]
    remedy: str


FOREIGN = (
    Foreign("a 7-Zip archive", (b"7z\xbc\xaf\x27\x1c",), "unpack it with `7z x`"),
    Foreign("a RAR archive", (b"Rar!\x1a\x07",), "unpack it with `unrar x`"),
    Foreign("a file packed by xz", (b"\xfd7zXZ\0",), "unpack it with `xz -d`"),
    Foreign("a file packed by zstd", (b"\x28\xb5\x2f\xfd",), "unpack it with `zstd -d`"),
    Foreign("an HDF5 file", (b"\x89HDF\r\n\x1a\n",), "save its images with numpy.save, as uint8"),
)
_BARE_IMAGE = Foreign("an image file without a suffix for images", (), "let its name end in .png or .jpg")


def kind_of_name(name: str) -> str:
    """Return the kind that a file's name tells; empty if it tells none."""
    lower = name.lower()
    if splitext(lower)[1] in SUFFIXES:
        return FOLDER
    return next((mark.kind for mark in MARKS if lower.endswith(mark.suffixes)), "")


def kind_of_content(head: Head) -> str:
    """Return the kind that a file's beginning tells; empty if it tells none."""
    return next((mark.kind for mark in MARKS if mark.fits(head)), "")


def foreign_format(head: Head) -> Foreign | None:
    """Return the format of a file that is known and not read, or None."""
    if begins_like_image(head.data):
        return _BARE_IMAGE
    return next((foreign for foreign in FOREIGN if head.data.startswith(foreign.starts)), None)


def shows_no_images(head: Head) -> bool:
    """Tell whether the first names in a zip archive are neither images nor files that may hold many."""
    return bool(head.zip_names) and not any(kind_of_name(name) for name in head.zip_names)


def may_hold_images(name: str) -> bool:
    """Tell whether a file may hold many images, so that it is worth looking into; its name alone decides."""
    suffix = splitext(name)[1].lower()
    return suffix not in SUFFIXES and suffix not in _TEXTS


def is_of_kind(kind: str, files: FileSet, file: File) -> bool:
    """Tell whether a file is of a kind: by the end of its name, else by its first bytes.

    Its name alone decides if it ends as this kind does, or as an image or a text does. So a folder of archives is
    listed without reading from each of them one time more.

    Raises:
        InputError: If it has to be read and cannot be.
    """
    if kind_of_name(file.name) == kind:
        return True
    return may_hold_images(file.name) and kind_of_content(read_head(files, file)) == kind
