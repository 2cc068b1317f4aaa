"""Objects of a bucket, listed as a server lists them and read as they were found; no server is needed for that."""

import pytest

from infra.errors import IntegrityError
from infra.sources.files import bucket
from infra.sources.files.file import File
from infra.sources.files.pattern import Pattern
from infra.storage.s3 import S3Object

KEYS = ("set/b.png", "set/a/c.png", "set/.hidden/d.png", "set/a/.e.png", "set/notes.txt")


def listed(monkeypatch: pytest.MonkeyPatch, pattern: Pattern | None = None) -> list[str]:
    objects = [S3Object(key=key, size=5, etag=f"etag of {key}") for key in KEYS]
    monkeypatch.setattr("infra.storage.s3.list_objects", lambda name, prefix: {("pile", "set/"): objects}[name, prefix])
    found = list(bucket.s3_files("s3://pile/set", [pattern]))
    assert all(file.stamp == f"etag of set/{file.name}" for file in found)
    return [file.name for file in found]


def test_hidden_objects_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(monkeypatch) == ["b.png", "a/c.png", "notes.txt"]


def test_only_names_that_match_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(monkeypatch, Pattern("**/*.png")) == ["b.png", "a/c.png"]


def test_servers_other_than_s3_are_not_trusted_with_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert listed(monkeypatch) == ["a/c.png", "b.png", "notes.txt"]


def test_an_object_that_is_gone_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr("infra.storage.s3.get", gone)
    with pytest.raises(IntegrityError, match=r"s3://pile/a\.png: changed since it was listed - run again"):
        bucket.s3_read("s3://pile/a.png", File(name="a.png", size=5, stamp="x"), 0, None)
