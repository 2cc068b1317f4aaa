"""Images on S3: listed, and the first one read."""

from collections.abc import Iterator
from itertools import islice

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, fine
from infra.errors import InputError
from infra.storage.trial import BRIEF
from infra.storage.uri import parse_place


def check(subject: Subject) -> Iterator[Finding]:
    """Read a byte of each source."""
    if not subject.sources:
        yield fine("none named; `--source s3://bucket/prefix` checks one")
    for source in subject.sources:
        yield _first_read(source)


def _first_read(source: str) -> Finding:
    place = parse_place(source)
    if place.scheme != "s3":
        return fine("local: `ddpm inspect` looks at it", item=f"source {place.uri}")
    from infra.storage import s3

    first = next(islice(s3.list_objects(place.bucket, place.path, limits=BRIEF), 1), None)
    if first is None:
        raise InputError("no object lies there", item=f"source {place.uri}", remedy="correct bucket and prefix")
    s3.get(place.bucket, first.key, length=1, limits=BRIEF)
    return fine("can be listed and read", item=f"source {place.uri}")
