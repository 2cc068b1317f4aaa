"""S3's refusals become one line each, never with a secret in it."""

import threading
import traceback
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra.errors import ConfigError
from infra.storage import s3
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


@pytest.mark.parametrize("text", ["true", "1", "YES"])
def test_a_public_bucket_without_credentials(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that serves whoever asks, and notes what came with the request."""
    seen: list[tuple[str, bool]] = []
    body = b"<ListBucketResult><Contents><Key>x/a</Key><Size>3</Size><ETag>e</ETag>"
    body += b"<LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"

    class Public(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.command, "authorization" in {name.lower() for name in self.headers}))
            content = body if "list-type" in self.path else b"abc"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with HTTPServer(("127.0.0.1", 0), Public) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_NO_SIGN_REQUEST", text)
        assert [found.key for found in s3.list_objects("public", "x/", limits=QUICK)] == ["x/a"]
        assert s3.get("public", "x/a", limits=QUICK) == b"abc"
        server.shutdown()
    assert seen == [("GET", False)] * 2


def test_unsigned_requests_that_are_refused(seaweed_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "true")
    _refusals(seaweed_store, "not allowed without credentials: .* - unset AWS_NO_SIGN_REQUEST")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "false")
    seaweed_store.make()


def test_a_choice_about_signing_that_is_none(seaweed_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "maybe")
    with pytest.raises(ConfigError, match="AWS_NO_SIGN_REQUEST: is neither true nor false - set it to true or unset"):
        seaweed_store.make()


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
