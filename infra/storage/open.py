"""The store that an address names, and the file that one names."""

import os
from pathlib import Path

from infra.errors import InputError
from infra.storage.local_store import LocalStore
from infra.storage.store import Store
from infra.storage.uri import parse_place


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
    except FileNotFoundError as error:
        raise InputError("is not there", item=location) from error
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or os.strerror(error.errno or 0)})", item=location
        ) from error
    if len(data) > limit:
        raise InputError(f"is larger than {limit >> 20} MiB", item=location)
    return data
