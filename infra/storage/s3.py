"""Objects of S3: list, read, remove, put if absent, replace; every wait bounded, every error one of ours.

botocore itself, not the asynchronous clients on top of it: aiohttp sends a PUT again by itself when the connection
breaks, and the 412 that a first, lost request earns the second would read as another writer's. Here each attempt is
one request and all repeating is done below, where it is known what may have happened before.

Credentials come from the standard chain (environment, profile, role), the server from AWS_ENDPOINT_URL_S3 or
AWS_ENDPOINT_URL alone.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
        key: Its key, from the bucket's top.
        size: In bytes.
        etag: Changes whenever its bytes do; without quotes.
    """

    key: str
    size: int
    etag: str


class _RepeatError(Exception):
    """The store's answers contradict each other for now."""


def list_objects(bucket: str, prefix: str, *, markers: bool = False, limits: Limits = _LIMITS) -> Iterator[S3Object]:
    """Yield the objects whose keys start with a prefix, page by page, in the store's order.

    On S3 that is the keys' order by their UTF-8 bytes; SeaweedFS goes folder by folder, so "a/b" comes before "a-b".

    Args:
        bucket: The bucket.
        prefix: As S3 means it: end it with a slash to list a folder, or those beside it that start alike come too.
        markers: Yield the empty objects too that stand for folders, whose keys end with a slash.
        limits: How long to wait.
    """
    options: dict[str, str | int] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": _PAGE}
    while True:
        page = _call("list_objects_v2", f"s3://{bucket}/{prefix}", limits, **options)
        for entry in page.get("Contents", ()):
            if markers or not entry["Key"].endswith("/"):
                yield S3Object(entry["Key"], entry["Size"], entry["ETag"].strip('"'))
        if not page.get("IsTruncated"):
            return
        options["ContinuationToken"] = page["NextContinuationToken"]


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
    """Return an object's bytes, or a stretch of them: fewer, or none, where the object ends before.

    Raises:
        FileNotFoundError: If it does not exist.
        IntegrityError: If an etag is given and the object has another one by now.
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
    """Make an object visible, whole; return False if the key is taken.

    A reply may be lost after the store has written. The attempt after that finds the key taken, and reads the object:
    the same bytes are this call's own.

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
            raise _RepeatError("taken and yet not there") from error
        return hashlib.sha256(stored).digest() == digest

    return _persist(attempt, item, limits)


def put(bucket: str, key: str, data: bytes, *, limits: Limits = _LIMITS) -> None:
    """Make an object visible, whole, in place of another one if the key is taken: S3 swaps the two at once.

    If a reply is lost, the same bytes are sent again. Of several writers the last one wins.

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
    """Repeat what may work later, waiting twice as long each time, until the time is over."""
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
                    f"the store does not serve: {code_of(error)}, for {limits.total_s:g} s",
                    item=item,
                    remedy="run again once it does",
                ) from error
            time.sleep(wait)
            wait = min(2 * wait, limits.longest_wait_s)
