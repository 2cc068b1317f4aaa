"""The user's files, local or on S3: found in one order, and read only as they were found.

Find and glob are our own because fsspec's leave open what a listing's digest depends on. Here both kinds of place give
files in the order of their names' characters, so a folder and its copy on S3 list alike; every file comes with a stamp
(time of modification or ETag) in the same pass, and reading it checks the stamp; hidden files are left out, and links
to folders are refused instead of followed; names come as a stream, so a bucket of any size fits into memory.
"""

import fnmatch
import glob
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from infra.errors import DdpmError, InputError, IntegrityError, StorageError, Term
from infra.storage.ranges import RangeFile

_GLOB = re.compile(r"[*?\[]")
_S3 = "s3://"
_CONCURRENT_READS = 16
# A larger file is not a training image.
MAX_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class File:
    """A file as it was found.

    Attributes:
        name: Its path below the source, '/'-separated.
        size: Its bytes.
        stamp: Time of modification or ETag; changes if the file changes.
    """

    name: str
    size: int
    stamp: str


@dataclass(frozen=True)
class FileSet:
    """Some folders, files and globs, each local or below s3://.

    If there are several folders, names begin with the folder's own name.

    Attributes:
        sources: Absolute paths or S3 URIs.
    """

    sources: tuple[str, ...]

    def find(self) -> Iterator[File]:
        """Find every file that is not hidden, once, in the order of the names within each folder.

        Raises:
            InputError: If a source is not there, or a folder cannot be listed.
        """
        for source in self.sources:
            _check_there(source)
        for base, prefix in self._prefixes.items():
            wanted = {source: pattern for source in self.sources for other, pattern in [_base(source)] if other == base}
            empty = dict(wanted)
            for file in (_s3_files if base.startswith(_S3) else _local_files)(base, list(wanted.values())):
                if empty:
                    empty = {one: p for one, p in empty.items() if p is not None and not p.matches(file.name)}
                yield File(name=prefix + file.name, size=file.size, stamp=file.stamp)
            # A single empty folder is reported later, together with what it did contain.
            for source in [one for one in empty if len(self.sources) > 1 or wanted[one] or base.startswith(_S3)]:
                cause = "matches nothing" if wanted[source] else "holds nothing"
                raise InputError(cause, item=source, remedy=f"check {Term.SOURCE}")

    def read(self, file: File, start: int = 0, length: int | None = None) -> bytes:
        """Return a file's bytes, or some of them.

        Raises:
            InputError: If it is too large or cannot be read.
            IntegrityError: If it is not what was found.
        """
        path = self.path(file.name)
        if (file.size if length is None else length) > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES >> 20} MiB", item=path, remedy="remove it")
        if path.startswith(_S3):
            return _s3_read(path, file, start, length)
        try:
            with _open_as_found(path, file) as opened:
                opened.seek(start)
                data = opened.read(file.size if length is None else length)
                if _stamp(os.fstat(opened.fileno())) != file.stamp:
                    raise _changed(path)
        except OSError as error:
            raise _unreadable(error, path) from error
        return data

    def read_all(self, files: Iterable[File]) -> Iterator[bytes | InputError]:
        """Return the bytes or the error of each file, in order; several files at a time from S3."""
        if not any(base.startswith(_S3) for base in self._prefixes):
            yield from map(self._attempt, files)
            return
        remaining = iter(files)
        with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
            while window := list(islice(remaining, 4 * _CONCURRENT_READS)):
                yield from pool.map(self._attempt, window)

    def open(self, file: File) -> BinaryIO:
        """Open a file for reading at any place.

        Raises:
            InputError: If it cannot be read.
            IntegrityError: If it is not what was found.
        """
        path = self.path(file.name)
        if path.startswith(_S3):
            fetched = RangeFile(lambda start, length: _s3_read(path, file, start, length), file.size)
            return io.BufferedReader(fetched, 1 << 20)
        return io.BufferedReader(_open_as_found(path, file))

    def covers(self, path: str) -> bool:
        """Tell whether `find` would find a file of that absolute path or an object of that URI."""
        for base, pattern in map(_base, self.sources):
            top, file = (base, path) if base.startswith(_S3) else (os.path.realpath(base), os.path.realpath(path))
            name = file.removeprefix(f"{top}/")
            hidden = any(part.startswith(".") for part in name.split("/"))
            if name != file and not hidden and (pattern is None or pattern.matches(name)):
                return True
        return False

    def path(self, name: str) -> str:
        """Return the path or URI of a file by its name."""
        for base, prefix in self._prefixes.items():
            if name.startswith(prefix):
                return f"{base}/{name.removeprefix(prefix)}"
        raise InputError("is not below any source", item=name)

    def _attempt(self, file: File) -> bytes | InputError:
        try:
            return self.read(file)
        except InputError as error:
            return error

    @cached_property
    def _prefixes(self) -> dict[str, str]:
        bases = list(dict.fromkeys(_base(source)[0] for source in self.sources))
        if len(bases) == 1:
            return {bases[0]: ""}
        names = [base.rpartition("/")[2] for base in bases]
        for base, name in zip(bases, names, strict=True):
            if names.count(name) > 1 or any(base.startswith(f"{other}/") for other in bases):
                raise InputError("lies in, or is called like, another source", item=base, remedy="name other folders")
        return {base: f"{name}/" for base, name in zip(bases, names, strict=True)}


class _Pattern:
    """A glob, part by part: ** matches any folders, every other part one name; a folder that matches counts whole."""

    def __init__(self, text: str) -> None:
        self._parts = [None if part == "**" else re.compile(fnmatch.translate(part)) for part in text.split("/")]

    def matches(self, name: str) -> bool:
        """Tell whether a file of that name matches, or whether a file below a folder may; a folder ends in a slash."""
        return _match(self._parts, name.split("/"))


def _match(parts: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    if not parts or names == [""]:
        return True
    if not names:
        return False
    if parts[0] is None:
        return _match(parts[1:], names) or _match(parts, names[1:])
    return parts[0].match(names[0]) is not None and _match(parts[1:], names[1:])


def _base(source: str) -> tuple[str, _Pattern | None]:
    """The folder that the names of a source are relative to, and the pattern that they must match."""
    scheme, rest = (_S3, source.removeprefix(_S3)) if source.startswith(_S3) else ("", source)
    parts = rest.rstrip("/").split("/")
    fixed = next((n for n, part in enumerate(parts) if _GLOB.search(part)), None)
    if fixed is not None and (scheme or not Path(source).exists()):
        return scheme + "/".join(parts[:fixed]), _Pattern("/".join(parts[fixed:]))
    if _is_file(source, parts):
        return scheme + "/".join(parts[:-1]), _Pattern(glob.escape(parts[-1]))
    return scheme + "/".join(parts), None


def _is_file(source: str, parts: Sequence[str]) -> bool:
    if not source.startswith(_S3):
        return not Path(source).is_dir()
    # A bucket has no folders to ask for, so the name decides: a folder with a dot in its name ends in a slash.
    return len(parts) > 1 and "." in parts[-1] and not source.endswith("/")


def _check_there(source: str) -> None:
    if source.startswith(_S3):
        return
    base, _ = _base(source)
    is_glob = _GLOB.search(source) and not Path(source).exists()
    if not Path(base or "/").is_dir() or not (is_glob or Path(source).exists()):
        raise InputError("is not there", item=source, remedy=f"set {Term.SOURCE} to a folder, a file or a glob")


def _open_as_found(path: str, file: File) -> io.FileIO:
    try:
        opened = io.FileIO(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise _changed(path) from error
    except OSError as error:
        raise _unreadable(error, path) from error
    status = os.fstat(opened.fileno())
    if _stamp(status) != file.stamp or status.st_size != file.size:
        opened.close()
        raise _changed(path)
    return opened


def _local_files(base: str, wanted: Sequence[_Pattern | None]) -> Iterator[File]:
    for name, entry in _walk(base, "", wanted):
        try:
            status = entry.stat()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", item=f"{base}/{name}") from error
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a file", item=f"{base}/{name}", remedy="remove it")
        yield File(name=name, size=status.st_size, stamp=_stamp(status))


def _walk(base: str, folder: str, wanted: Sequence[_Pattern | None]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """The files below a folder in the order of their names' characters, as an object store lists them."""
    try:
        with os.scandir(f"{base}/{folder}") as entries:
            found = sorted(((entry.name + "/" * entry.is_dir(), entry) for entry in entries), key=itemgetter(0))
    except OSError as error:
        raise InputError(f"cannot be listed ({error.strerror})", item=f"{base}/{folder}") from error
    for name, entry in found:
        if name.startswith(".") or not any(p is None or p.matches(folder + name) for p in wanted):
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError("has a name that is not UTF-8", item=repr(folder + name), remedy="rename it") from error
        if not name.endswith("/"):
            yield folder + name, entry
        elif entry.is_symlink():
            raise InputError("is a link to a folder", item=f"{base}/{folder}{name}", remedy="name the folder itself")
        else:
            yield from _walk(base, folder + name, wanted)


def _s3_files(base: str, wanted: Sequence[_Pattern | None]) -> Iterator[File]:
    from infra.storage.s3 import S3Object, list_objects

    bucket, _, prefix = base.removeprefix(_S3).partition("/")
    prefix = f"{prefix}/" if prefix else ""
    objects: Iterable[S3Object] = list_objects(bucket, prefix)
    if {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} & os.environ.keys():
        objects = sorted(objects, key=lambda found: found.key)  # unlike S3, other servers may list folder by folder
    for found in objects:
        name = found.key.removeprefix(prefix)
        hidden = any(part.startswith(".") for part in name.split("/"))
        if hidden or not any(p is None or p.matches(name) for p in wanted):
            continue
        yield File(name=name, size=found.size, stamp=found.etag)


def _s3_read(path: str, file: File, start: int, length: int | None) -> bytes:
    from infra.storage.s3 import get

    bucket, _, key = path.removeprefix(_S3).partition("/")
    try:
        return get(bucket, key, etag=file.stamp, start=start, length=length)
    except FileNotFoundError as error:
        raise _changed(path) from error


def _stamp(status: os.stat_result) -> str:
    return str(status.st_mtime_ns)


def _unreadable(error: OSError, path: str) -> DdpmError:
    """A failing disk is not the fault of the file, which must not end in quarantine."""
    cause = f"cannot be read ({error.strerror})"
    if isinstance(error, PermissionError):
        return InputError(cause, item=path, remedy="let this user read it")
    return StorageError(cause, item=path, remedy="run again")


def _changed(path: str) -> IntegrityError:
    return IntegrityError("changed since it was listed", item=path, remedy="run again")
