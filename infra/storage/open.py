"""The store that an address names, and the file that one names, whole or open."""

import io
import os
from pathlib import Path
from typing import BinaryIO

from infra.errors import InputError
from infra.storage.local_store import LocalStore
from infra.storage.ranges import RangeFile
from infra.storage.store import Store
from infra.storage.uri import parse_place

# A reader's request to S3, at least.
_CHUNK = 1 << 16


def open_store(uri: str) -> Store:
    """Open the store at a local path or an s3://bucket/prefix.

    Raises:
        ConfigError: If the URI is neither.
    """
    place = parse_place(uri)
    if place.scheme == "s3":
        # Imported here, because its client takes a fraction of a second to load and local runs do not need it.
        from infra.storage.s3_store import S3Store

        return S3Store(place.bucket, place.path)
    return LocalStore(Path(place.path))


def read_file(location: str, limit: int) -> bytes:
    """Return the bytes of a file at a local path or an s3://bucket/key.

    Args:
        location: The path or URI.
        limit: The largest number of bytes to accept.

    Raises:
        ConfigError: If the location is neither.
        InputError: If there is no such file, or it cannot be read or is larger.
        StorageError: If S3 does not answer.
    """
    place = parse_place(location)
    try:
        if place.scheme == "s3":
            folder, _, name = place.path.rpartition("/")
            data = open_store(f"s3://{place.bucket}/{folder}").read(name, 0, limit + 1)
        else:
            with Path(place.path).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(error, location) from error
    if len(data) > limit:
        raise InputError(f"is larger than {limit >> 20} MiB", item=location)
    return data


def open_file(location: str) -> BinaryIO:
    """Open a file at a local path or an s3://bucket/key for reading at any place; of one on S3 only that is fetched.

    Raises:
        ConfigError: If the location is neither.
        InputError: If there is no such file, or it cannot be read.
        StorageError: If S3 does not answer.
    """
    place = parse_place(location)
    try:
        if place.scheme != "s3":
            return Path(place.path).open("rb")
        from infra.storage import s3

        bucket, key = place.bucket, place.path
        if (found := s3.head(bucket, key)) is None:
            raise FileNotFoundError
        fetched = RangeFile(lambda start, length: s3.get(bucket, key, start=start, length=length), found.size)
        return io.BufferedReader(fetched, _CHUNK)
    except OSError as error:
        raise _unreadable(error, location) from error


def _unreadable(error: OSError, location: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("is not there", item=location)
    return InputError(f"cannot be read ({error.strerror or os.strerror(error.errno or 0)})", item=location)
