"""Files beside images that say something of them: which are wanted, and their content."""

from collections.abc import Callable
from contextlib import suppress

from infra.errors import DdpmError
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.metadata import MAX_METADATA_BYTES, START_BYTES, may_be_metadata, too_large
from infra.sources.formats.tables import table_kind
from infra.sources.keys import archive_key
from infra.sources.reading import Reading
from infra.sources.source import Metadata, Other

_ENDS = (".json", ".jsonl", ".csv", ".tsv", ".txt")
_LONGEST_END = max(map(len, _ENDS))


def may_label(name: str) -> bool:
    """Tell by its name whether a file may label the images around it."""
    kind = table_kind(name)
    return may_be_metadata(name) if kind is None else not kind.splits


def is_wanted(name: str, reading: Reading) -> bool:
    """Tell by its name whether a file is read for the labels or splits of the images around it."""
    # Nearly all names are those of images, and end otherwise.
    if not name[-_LONGEST_END:].lower().endswith(_ENDS):
        return False
    return reading.metadata if may_label(name) else reading.use_splits and table_kind(name) is not None


def file_beside(files: FileSet, file: File, reading: Reading) -> Metadata | Other:
    """Return a file that is no image, with its content or the reason why that cannot be read if it is wanted."""
    if not is_wanted(file.name, reading):
        return Other(file.name)
    if file.size > MAX_METADATA_BYTES:
        start = b""
        with suppress(DdpmError):  # as for smaller files, only what is needed can fail
            start = files.read(file, 0, START_BYTES)
        return Metadata(file.name, too_large(files.path(file.name)), start)
    (content,) = files.read_all([file])
    return Metadata(file.name, content)


def key_beside(files: FileSet, file: File, is_archive: Callable[[File], bool]) -> str:
    """Return the key of an archive's images if it is called like companions and others lie beside it; else nothing.

    Args:
        files: All files.
        file: The archive.
        is_archive: Tells whether a file is an archive of the same kind.
    """
    key = archive_key(file.name)
    # The others are looked for again, which takes a second listing, because names like these are rare.
    return key if key and any(one != file and is_archive(one) for one in files.find()) else ""


def table_beside(files: FileSet, file: File, reading: Reading) -> Metadata | Other:
    """Return a file beside archives, with its content if it is a text table that is wanted."""
    return file_beside(files, file, reading) if table_kind(file.name) else Other(file.name)
