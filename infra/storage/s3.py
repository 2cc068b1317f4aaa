"""Objects of S3: list, read, remove, put if absent, replace; every wait bounded, every error one of ours.

This module uses botocore itself, not the asynchronous clients on top of it. If a connection breaks, aiohttp resends a
PUT on its own; if the first request was carried out, the second one gets a 412, as if another writer had won. Here each
attempt is one request, and `_persist` does all retrying, so the code knows what earlier attempts may have done.

Credentials come from the standard chain (environment, profile, role), unless AWS_NO_SIGN_REQUEST=true sends requests
without any; the server comes from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL alone.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from infra.errors import DdpmError, IntegrityError, StorageError
from infra.storage.s3_client import Limits, client, code_of, may_have_happened, refused, status_of, worth_repeating

_Result = TypeVar("_Result")
_LIMITS = Limits()
_PAGE = 1000
_PRECONDITION_FAILED = 412
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class S3Object:
    """An object as a listing describes it.

    Attributes:
        key: Its key in the bucket.
        size: Its length in bytes.
        etag: Its ETag without quotes; it changes whenever the bytes do.
        changed_s: When it was put, in seconds since 1970 by the store's clock; 0 if it is not known.
    """

    key: str
    size: int
    etag: str
    changed_s: float = field(default=0.0, compare=False)


class _RepeatError(Exception):
    """The store's answers contradict each other for the moment."""


def list_objects(bucket: str, prefix: str, *, markers: bool = False, limits: Limits = _LIMITS) -> Iterator[S3Object]:
    """Yield the objects whose keys start with a prefix, page by page, in the store's order.

    On S3 that is the keys' order by their UTF-8 bytes; SeaweedFS goes folder by folder, so "a/b" comes before "a-b".

    Args:
        bucket: The bucket.
        prefix: The start of the keys. To list a folder, end it with a slash, or its siblings that start alike come too.
        markers: Also yield the empty objects that stand for folders; their keys end with a slash.
        limits: The bounds of every wait.
    """
    options: dict[str, str | int] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": _PAGE}
    while True:
        page = _call("list_objects_v2", f"s3://{bucket}/{prefix}", limits, **options)
        for entry in page.get("Contents", ()):
            if markers or not entry["Key"].endswith("/"):
                changed_s = entry["LastModified"].timestamp()
                yield S3Object(entry["Key"], entry["Size"], entry["ETag"].strip('"'), changed_s)
        if not page.get("IsTruncated"):
            return
        options["ContinuationToken"] = page["NextContinuationToken"]


def list_folders(bucket: str, prefix: str, *, limits: Limits = _LIMITS) -> Iterator[str]:
    """Yield the keys' common starts up to the first slash after a prefix, page by page; each ends with the slash.

    Args:
        bucket: The bucket.
        prefix: The start of the keys, which ends with a slash.
        limits: The bounds of every wait.
    """
    options: dict[str, str | int] = {"Bucket": bucket, "Prefix": prefix, "Delimiter": "/", "MaxKeys": _PAGE}
    while True:
        page = _call("list_objects_v2", f"s3://{bucket}/{prefix}", limits, **options)
        yield from (entry["Prefix"] for entry in page.get("CommonPrefixes", ()))
        if not page.get("IsTruncated"):
            return
        options["ContinuationToken"] = page["NextContinuationToken"]


def store_time(bucket: str, *, limits: Limits = _LIMITS) -> datetime | None:
    """Return the time of the store's clock, to the second, from its answer to a listing; None if it does not say."""
    page = _call("list_objects_v2", f"s3://{bucket}", limits, Bucket=bucket, MaxKeys=1)
    date = str(page.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except ValueError:
        return None


def head(bucket: str, key: str, *, limits: Limits = _LIMITS) -> S3Object | None:
    """Return the store's description of an object, or None if it does not exist."""
    try:
        reply = _call("head_object", f"s3://{bucket}/{key}", limits, Bucket=bucket, Key=key)
    except FileNotFoundError:
        return None
    return S3Object(key, reply["ContentLength"], reply["ETag"].strip('"'))


def get(
    bucket: str, key: str, *, etag: str = "", start: int = 0, length: int | None = None, limits: Limits = _LIMITS
) -> bytes:
    """Return an object's bytes, or a range of them, cut off at the object's end.

    Raises:
        FileNotFoundError: If it does not exist.
        IntegrityError: If `etag` is not empty and the object now has another one.
    """
    if length == 0:
        return b""
    options: dict[str, str] = {"IfMatch": f'"{etag}"'} if etag else {}
    if start or length is not None:
        options["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
    item = f"s3://{bucket}/{key}"

    def attempt() -> bytes:
        try:
            reply = client(limits).get_object(Bucket=bucket, Key=key, **options)
            return bytes(reply["Body"].read())
        except Exception as error:
            if status_of(error) == _PRECONDITION_FAILED:
                raise IntegrityError("changed since it was listed", item=item, remedy="run again") from error
            if status_of(error) == _RANGE_NOT_SATISFIABLE:
                return b""
            raise

    return _persist(attempt, item, limits)


def put_if_absent(bucket: str, key: str, data: bytes, *, limits: Limits = _LIMITS) -> bool:
    """Make a whole object visible; return False if the key is taken.

    A reply may be lost after the store has written the object. The next attempt then finds the key taken and reads the
    object; equal bytes count as this call's own.

    Raises:
        StorageError: If the store does not answer; the object may exist or not.
    """
    item = f"s3://{bucket}/{key}"
    digest = hashlib.sha256(data).digest()
    checksum = base64.b64encode(digest).decode()
    in_doubt = False

    def attempt() -> bool:
        nonlocal in_doubt
        try:
            client(limits).put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*", ChecksumSHA256=checksum)
        except Exception as error:
            if status_of(error) != _PRECONDITION_FAILED:
                in_doubt = in_doubt or may_have_happened(error)
                raise
            if not in_doubt:
                return False
        else:
            return True
        try:
            stored = get(bucket, key, limits=limits)
        except FileNotFoundError as error:
            raise _RepeatError("the key is taken, but the object is missing") from error
        return hashlib.sha256(stored).digest() == digest

    return _persist(attempt, item, limits)


def put(bucket: str, key: str, data: bytes, *, limits: Limits = _LIMITS) -> None:
    """Make a whole object visible; if the key is taken, S3 replaces the old object atomically.

    If a reply is lost, the same bytes are sent again. If several writers write one key, the last one wins.

    Raises:
        StorageError: If the store does not answer; the object then has either the old bytes or the new ones.
    """
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    _call("put_object", f"s3://{bucket}/{key}", limits, Bucket=bucket, Key=key, Body=data, ChecksumSHA256=checksum)


def delete(bucket: str, key: str, *, limits: Limits = _LIMITS) -> None:
    """Remove an object; nothing happens if it does not exist."""
    _call("delete_object", f"s3://{bucket}/{key}", limits, Bucket=bucket, Key=key)


def _call(method: str, item: str, limits: Limits, **parameters: str | int | bytes) -> dict[str, Any]:
    return _persist(lambda: dict(getattr(client(limits), method)(**parameters)), item, limits)


def _persist(attempt: Callable[[], _Result], item: str, limits: Limits) -> _Result:
    """Retry an attempt that may work later, waiting twice as long each time, until `limits.total_s` is over."""
    end = time.monotonic() + limits.total_s
    wait = limits.first_wait_s
    while True:
        try:
            return attempt()
        except (FileNotFoundError, DdpmError):
            raise
        except Exception as error:
            if (refusal := refused(error, item)) is not None:
                raise refusal from error
            if not (isinstance(error, _RepeatError) or worth_repeating(error)):
                raise
            if time.monotonic() + wait > end:
                raise StorageError(
                    f"the store has failed for {limits.total_s:g} s: {code_of(error)}",
                    item=item,
                    remedy="run again once it works",
                ) from error
            time.sleep(wait)
            wait = min(2 * wait, limits.longest_wait_s)
