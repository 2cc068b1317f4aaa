"""A file by its URL: S3 through s3fs, a page, a cache; and one line without secrets if that fails."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.storage.download import download, is_url, without_secrets
from infra.storage.open import open_store
from infra.storage.s3_client import Limits, client
from tests.servers import BUCKET, SECRET_KEY, Server

DATA = bytes(range(256)) * 300
KEY = f"s3://{BUCKET}/download/a/b.bin"


@pytest.fixture
def at_moto(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    open_store(f"s3://{BUCKET}/download").replace("a/b.bin", DATA)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path.startswith("/b.bin")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(DATA) if found else 0))
        self.end_headers()
        self.wfile.write(DATA if found else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_a_url() -> None:
    assert all(map(is_url, ["s3://b/k", "https://h/f", "file:///a", "simplecache::s3://b/k"]))
    assert not any(map(is_url, ["a", "/a/b", "~/a", "a:b", "C:\\a"]))


@pytest.mark.usefixtures("at_moto")
def test_an_object_of_s3(tmp_path: Path) -> None:
    assert download(KEY) == DATA
    assert download(f"simplecache::{KEY}", {"simplecache": {"cache_storage": str(tmp_path)}}) == DATA
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [DATA]


@pytest.mark.usefixtures("at_moto")
def test_a_public_bucket_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    client(Limits()).put_object_acl(Bucket=BUCKET, Key="download/a/b.bin", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert download(KEY, {"anon": True}) == DATA
    with pytest.raises(InputError, match=r"cannot be read \(NoCredentialsError\)") as caught:
        download(KEY)
    assert caught.value.item == KEY


@pytest.mark.usefixtures("at_moto")
def test_corrected_credentials_count_at_once(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InputError):
        download(KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.environment()["AWS_ACCESS_KEY_ID"])
    assert download(KEY) == DATA


@pytest.mark.usefixtures("at_moto")
@pytest.mark.parametrize("missing", [f"{KEY}.old", "s3://no-such-bucket/b.bin"])
def test_a_missing_object_is_named(missing: str) -> None:
    with pytest.raises(InputError, match="there is no such file") as caught:
        download(missing)
    assert (caught.value.item, caught.value.exit_code) == (missing, 3)


def test_a_page_by_http(page: str) -> None:
    assert download(f"http://{page}/b.bin") == DATA
    with pytest.raises(InputError, match="there is no such file"):
        download(f"http://{page}/other")


def test_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(DATA)
    assert download(f"file://{tmp_path}/b.bin") == DATA


def test_no_secret_is_shown(page: str) -> None:
    url = f"http://user:{SECRET_KEY.replace('/', '')}@{page}/other"
    with pytest.raises(InputError) as caught:
        download(f"{url}?X-Amz-Signature=0123456789")
    assert str(caught.value) == f"http://{page}/other: cannot be read (there is no such file)"
    assert without_secrets("simplecache::https://me:pass@host/a@b?key=1") == "simplecache::https://host/a@b"
    assert without_secrets("https://me:pa/ss@host/a") == "https://host/a", "a slash in a password"
    assert without_secrets("http://host:8000/a@b") == "http://host:8000/a@b", "a port, and no password"
    assert without_secrets("zip://a.zip::https://me:pa/ss@host/b") == "zip://a.zip::https://host/b"


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("gopher://host/b.bin", {}, "Protocol not known: gopher"),
        ("memory://b.bin", {}, "there is no such file"),
        ("s3://runs/b.bin", {"anonymous": True}, "unexpected keyword argument 'anonymous'"),
    ],
)
def test_the_line_says_why(url: str, options: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        download(url, options)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
