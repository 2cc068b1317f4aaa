"""Places of outputs are local folders and S3 prefixes, and no text that leads anywhere else."""

import socket
from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from infra.storage.s3_store import S3Store
from infra.storage.uri import Place, parse_place

SECRET = "cAnArY/SeCrEt"

# Each with what the error says of it.
HOSTILE = {
    "other schemes": (
        "only local folders and S3",
        [
            "http://h/x",
            "https://h/x",
            "gs://b/x",
            "gcs://b/x",
            "mock://x",
            "ftp://h/x",
            "hdfs://h/x",
            "s3a://b/x",
            "s3n://b/x",
            "S3://bucket/x",
            "FILE:///x",
            "file://host/x",
            "file:x",
            "file:/x",
            "s3:bucket/x",
            "s3:/bucket/x",
            "memory://x",
            "github://o:r@m/x",
            "jdbc:/x",
            "viewfs://c/x",
            "local://x",
            "smb://h/x",
            "abfs://c@a.d/x",
            "http://169.254.169.254/latest/meta-data",
            "file://localhost/etc/passwd",
            "file://~/x",
            "s3:",
        ],
    ),
    "chains": (
        "chains",
        ["simplecache::s3://bucket/x", "zip://a.zip::http://h/x", "filecache::http://h/x", "a::b", "s3://bucket/a::b"],
    ),
    "user names and passwords": (
        "user name or a password",
        [
            f"s3://AKIA:{SECRET}@bucket/x",
            f"s3://{SECRET}@bucket/x",
            "s3://@bucket/x",
            f"s3://bucket/x@{SECRET}",
            f"s3://k:{SECRET}@b/x?endpoint_override=169.254.169.254&scheme=http",
        ],
    ),
    "queries": (
        "query",
        [
            "s3://bucket/x?endpoint_override=169.254.169.254",
            f"s3://bucket/x?secret_key={SECRET}",
            "s3://bucket?x",
            "file:///tmp/x?y",
        ],
    ),
    "fragments": ("fragment", ["s3://bucket/x#y", "s3://bucket#y", "file:///tmp/x#y"]),
    "escapes": ("percent", ["s3://bucket/%2e%2e/x", "s3://bu%63ket/x", "s3://bucket/%00", "file:///tmp/%2e%2e/x"]),
    "backslashes": ("backslash", ["s3://bucket/a\\b", "s3://bucket\\x", "file:///tmp\\x"]),
    "ports": ("port", ["s3://bucket:9000/x", f"s3://bucket:{SECRET}", "s3://127.0.0.1:80/x"]),
    "unprintable": (
        "cannot be printed",
        [
            "a\x00b",
            "s3://bucket/a\nb",
            "s3://bucket/\x1b[31m",
            "s3://bucket/a\u202eb",
            "s3://buc\tket/x",
            "s3://b\x00/x",
            "s3://bucket/\x7f",
            "file:///a\rb",
            "s3://bucket/\ud800",
        ],
    ),
    "parts": (
        "part",
        [
            "s3://bucket//x",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "s3://bucket/a/..",
            "s3://bucket/./x",
            "s3://bucket/a/.",
            "s3://bucket/x//",
        ],
    ),
    "buckets": (
        "bucket name",
        [
            "s3://",
            "s3:///x",
            "s3://ab/x",
            "s3://Bucket/x",
            "s3://buck_et/x",
            "s3://-bucket/x",
            "s3://bucket-/x",
            "s3://.bucket/x",
            "s3://buck..et/x",
            "s3://192.168.0.1/x",
            "s3://169.254.169.254/latest",
            "s3://xn--b/x",
            "s3://bucket-s3alias/x",
            "s3://bucket--ol-s3/x",
            "s3://bucket--x-s3/x",
            f"s3://{'b' * 64}/x",
            "s3://büro/x",
            "s3://buc ket/x",
            "s3://bucket.mrap/x",
        ],
    ),
    "length": ("too long", [f"s3://bucket/{'x' * 1025}", f"s3://bucket/{'ä' * 513}"]),
    "nothing": ("needed", [""]),
    "homes": ("home folder", ["~no-such-user/x"]),
}
CASES = [pytest.param(text, says, id=ascii(text)[:40]) for says, texts in HOSTILE.values() for text in texts]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(("text", "says"), CASES)
def test_hostile_locations_are_refused_and_open_no_socket(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for call in (parse_place, open_store):
        with pytest.raises(ConfigError, match=says) as caught:
            call(text)
        assert caught.value.exit_code == 2
        assert caught.value.remedy
        shown = f"{caught.value!r} {caught.value}"
        assert SECRET not in shown
        assert SECRET.partition("/")[2] not in shown
        assert str(caught.value).isprintable()


S3 = {
    "s3://bucket": ("bucket", ""),
    "s3://bucket/": ("bucket", ""),
    "s3://bucket/prefix": ("bucket", "prefix"),
    "s3://bucket/a/b c/": ("bucket", "a/b c"),
    "s3://my.bucket-1/year=2026/ü": ("my.bucket-1", "year=2026/ü"),
    "s3://abc/.hidden/...": ("abc", ".hidden/..."),
    f"s3://{'b' * 63}/{'x' * 1024}": ("b" * 63, "x" * 1024),
}


@pytest.mark.parametrize("text", S3)
def test_s3_prefixes(text: str) -> None:
    place = parse_place(text)
    assert place == Place("s3", *S3[text])
    assert parse_place(place.uri) == place
    assert open_store(text) == S3Store(*S3[text])
    assert parse_place(open_store(text).uri) == place


@pytest.mark.parametrize("text", ["a?b", "a%2eb", "a#b", "a@b", "a:b", "C:x", "a b", "ü", "bucket/x", "%2e%2e"])
def test_local_names_are_taken_as_they_are(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_place(text) == Place("file", "", str(tmp_path / text))
    assert open_store(text) == LocalStore(tmp_path / text)


def test_file_uris_are_local(tmp_path: Path) -> None:
    assert parse_place(f"file://{tmp_path}/x") == Place("file", "", f"{tmp_path}/x")
    assert open_store(f"file://{tmp_path}/x") == LocalStore(tmp_path / "x")


def test_the_uri_opens_the_same_store_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs")
    store.make()
    store.put_if_absent("a", b"x")
    monkeypatch.chdir("/")
    assert Path(store.uri).is_absolute()
    assert open_store(store.uri).read("a") == b"x"


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/runs").uri == str(tmp_path / "runs")
