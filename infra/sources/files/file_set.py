"""The user's files, local, on S3 or on the Hugging Face Hub: found in one order, and read only as they were found.

Find and glob are our own because fsspec's leave the order and the stamps open, on which a listing's digest depends.
Here both kinds of place give files in the order of their names' characters, so a folder and its copy on S3 list alike;
every file comes with a stamp (time of modification or ETag) in the same pass, and reading it checks the stamp; hidden
files are left out, and links to folders are followed unless they lead in a circle; names come as a stream, so a bucket
of any size fits into memory.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import BinaryIO

from infra.errors import InputError, Term
from infra.sources.files.bucket import s3_files, s3_read
from infra.sources.files.file import MAX_BYTES, File, changed
from infra.sources.files.hub import hub_files, hub_read
from infra.sources.files.local import local_files, open_as_found, stamp_of, unreadable
from infra.sources.files.pattern import REMOTE, S3, Pattern, base_and_pattern, check_there
from infra.storage.ranges import RangeFile

_CONCURRENT_READS = 16
# One more file of the largest size may come on top of these.
_WINDOW_BYTES = 256 << 20


@dataclass(frozen=True)
class FileSet:
    """Some folders, files and globs, each local or below s3:// or hf://datasets/.

    If there are several folders, names begin with the folder's own name.

    Attributes:
        sources: Absolute paths or URIs.
        apart: Absolute paths that no link may lead to, such as those of the program's own outputs.
    """

    sources: tuple[str, ...]
    apart: tuple[str, ...] = ()

    def find(self) -> Iterator[File]:
        """Find every file that is not hidden, once, in the order of the names within each folder.

        Raises:
            InputError: If a source is not there, or a folder cannot be listed.
        """
        for source in self.sources:
            check_there(source)
        for base, prefix in self.prefixes.items():
            located = [(source, *base_and_pattern(source)) for source in self.sources]
            wanted = {source: pattern for source, other, pattern in located if other == base}
            empty = dict(wanted)
            for file in self._below(base, list(wanted.values())):
                if empty:
                    empty = {one: p for one, p in empty.items() if p is not None and not p.matches(file.name)}
                yield File(name=prefix + file.name, size=file.size, stamp=file.stamp) if prefix else file
            # A single empty folder is reported later, together with the other files in it.
            for source in [one for one in empty if len(self.sources) > 1 or wanted[one] or base.startswith(REMOTE)]:
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
        if path.startswith(REMOTE):
            return _read_remote(path, file, start, length)
        try:
            with open_as_found(path, file) as opened:
                opened.seek(start)
                data = opened.read(file.size if length is None else length)
                if stamp_of(os.fstat(opened.fileno())) != file.stamp:
                    raise changed(path)
        except OSError as error:
            raise unreadable(error, path) from error
        return data

    def read_all(self, files: Iterable[File]) -> Iterator[bytes | InputError]:
        """Return the bytes or the error of each file, in order; several files at a time from elsewhere."""
        if not any(base.startswith(REMOTE) for base in self.prefixes):
            yield from map(self._attempt, files)
            return
        remaining = iter(files)
        with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
            while window := _window(remaining):
                yield from pool.map(self._attempt, window)

    def open(self, file: File) -> BinaryIO:
        """Open a file for reading at any place.

        Raises:
            InputError: If it cannot be read.
            IntegrityError: If it is not what was found.
        """
        path = self.path(file.name)
        if path.startswith(REMOTE):
            fetched = RangeFile(lambda start, length: _read_remote(path, file, start, length), file.size)
            return io.BufferedReader(fetched, 1 << 20)
        return io.BufferedReader(open_as_found(path, file))

    def covers(self, path: str) -> bool:
        """Tell whether `find` would find a file of that absolute path or an object of that URI."""
        for base, pattern in map(base_and_pattern, self.sources):
            top, file = (base, path) if base.startswith(REMOTE) else (os.path.realpath(base), os.path.realpath(path))
            name = file.removeprefix(f"{top}/")
            hidden = any(part.startswith(".") for part in name.split("/"))
            if name != file and not hidden and (pattern is None or pattern.matches(name)):
                return True
        return False

    def path(self, name: str) -> str:
        """Return the path or URI of a file by its name."""
        for base, prefix in self.prefixes.items():
            if name.startswith(prefix):
                return f"{base}/{name.removeprefix(prefix)}"
        raise InputError("is not below any source", remedy=f"check {Term.SOURCE}", item=name)

    @cached_property
    def prefixes(self) -> dict[str, str]:
        """The folders below which files are found, and what the names of the files in each begin with.

        Raises:
            InputError: If one of several folders lies in another, or is called like it.
        """
        bases = list(dict.fromkeys(base_and_pattern(source)[0] for source in self.sources))
        if len(bases) == 1:
            return {bases[0]: ""}
        names = [base.rpartition("/")[2] for base in bases]
        for base, name in zip(bases, names, strict=True):
            if names.count(name) > 1 or any(base.startswith(f"{other}/") for other in bases):
                raise InputError("lies in, or is called like, another source", item=base, remedy="name other folders")
        return {base: f"{name}/" for base, name in zip(bases, names, strict=True)}

    def _below(self, base: str, wanted: Sequence[Pattern | None]) -> Iterator[File]:
        if base.startswith(REMOTE):
            return (s3_files if base.startswith(S3) else hub_files)(base, wanted)
        return local_files(base, wanted, [path for path in self.apart if not path.startswith(REMOTE)])

    def _attempt(self, file: File) -> bytes | InputError:
        try:
            return self.read(file)
        except InputError as error:
            return error


def _window(files: Iterator[File]) -> list[File]:
    """Take the next files to read at a time: up to 64, or those whose bytes exceed the limit together."""
    window, size = [], 0
    for file in islice(files, 4 * _CONCURRENT_READS):
        window.append(file)
        size += file.size
        if size > _WINDOW_BYTES:
            break
    return window


def _read_remote(path: str, file: File, start: int, length: int | None) -> bytes:
    return (s3_read if path.startswith(S3) else hub_read)(path, file, start, length)
