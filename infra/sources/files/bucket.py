"""Objects of a bucket on S3: found below a prefix, and read as they were found."""

import os
from collections.abc import Iterable, Iterator, Sequence

from infra.sources.files.file import File, changed
from infra.sources.files.pattern import S3, Pattern


def s3_files(base: str, wanted: Sequence[Pattern | None]) -> Iterator[File]:
    """Find the objects below a prefix that match a pattern and are not hidden, in the order of their names."""
    from infra.storage.s3 import S3Object, list_objects

    bucket, _, prefix = base.removeprefix(S3).partition("/")
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


def s3_read(path: str, file: File, start: int, length: int | None) -> bytes:
    """Return an object's bytes from `start`, all or `length` of them.

    Raises:
        IntegrityError: If it is gone, or is another object than the one found.
    """
    from infra.storage.s3 import get

    bucket, _, key = path.removeprefix(S3).partition("/")
    try:
        return get(bucket, key, etag=file.stamp, start=start, length=length)
    except FileNotFoundError as error:
        raise changed(path) from error
