"""The store that an address names."""

from pathlib import Path

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
