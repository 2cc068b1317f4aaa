"""This machine's clock beside the one of a bucket: S3 refuses requests that are a quarter of an hour off."""

from collections.abc import Iterator
from datetime import UTC, datetime

from flows.doctor.check import Subject
from flows.doctor.finding import Finding, doubt, fine
from infra.storage.trial import BRIEF
from infra.storage.uri import parse_place

_TOLERATED_S = 60.0


def check(subject: Subject) -> Iterator[Finding]:
    """Compare the two."""
    places = [parse_place(text) for text in (subject.root, *subject.sources)]
    bucket = next((place.bucket for place in places if place.scheme == "s3"), "")
    if not bucket:
        yield fine("nothing on S3 to compare it with")
        return
    from infra.storage import s3

    theirs = s3.store_time(bucket, limits=BRIEF)
    if theirs is None:
        yield fine("the store does not tell its time", item=f"s3://{bucket}")
        return
    off = (datetime.now(UTC) - theirs).total_seconds()
    if abs(off) > _TOLERATED_S:
        yield doubt(
            f"ours is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the store's; from 900 s on it refuses us",
            item=f"s3://{bucket}",
            remedy="set this machine's clock, best by NTP",
        )
    else:
        yield fine(f"within {_TOLERATED_S:.0f} s of the store's", item=f"s3://{bucket}")
