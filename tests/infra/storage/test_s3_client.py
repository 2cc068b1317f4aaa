"""S3's refusals become one line each, never with a secret in it."""

import traceback
import uuid
from collections.abc import Callable

import pytest

from infra.errors import ConfigError
from infra.storage.open import open_store
from infra.storage.s3_store import S3Store
from tests.infra.conftest import QUICK
from tests.servers import ACCESS_KEY, SECRET_KEY

CALLS: list[Callable[[S3Store], object]] = [
    lambda s3_store: s3_store.make(),
    lambda s3_store: s3_store.read("a"),
    lambda s3_store: s3_store.put_if_absent("a", b""),
    lambda s3_store: s3_store.list("a"),
    lambda s3_store: s3_store.delete("a"),
]


def _refusals(s3_store: S3Store, says: str, calls: list[Callable[[S3Store], object]] = CALLS) -> None:
    for call in calls:
        with pytest.raises(ConfigError, match=says) as caught:
            call(s3_store)
        text = "".join(traceback.format_exception(caught.value))
        assert SECRET_KEY not in text
        assert s3_store.bucket in text
        assert caught.value.remedy


def test_a_bucket_that_is_not_there(s3_store: S3Store) -> None:
    _refusals(S3Store(f"no-{uuid.uuid4().hex}", "x", QUICK), "no such bucket", CALLS[:4])


def test_wrong_credentials(seaweed_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY[::-1])
    _refusals(seaweed_store, "SignatureDoesNotMatch|not allowed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY[::-1])
    _refusals(seaweed_store, "InvalidAccessKeyId|not allowed")


def test_no_credentials(seaweed_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _refusals(seaweed_store, "no credentials")


def test_a_profile_that_is_not_there(seaweed_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigError, match="ProfileNotFound"):
        seaweed_store.make()


@pytest.mark.parametrize(
    "url", ["ftp://h", "h:80", "http://", f"http://k:{SECRET_KEY}@h", "http://h?x=1", "http://h:x", "http://h#x"]
)
def test_endpoints_of_another_form(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(ConfigError, match="https://host:port") as caught:
        open_store("s3://bucket/x").make()
    assert SECRET_KEY not in str(caught.value)
