"""An overlay reads like a store that was written to, and the store below is not."""

from pathlib import Path

import pytest

from infra.storage.local_store import LocalStore
from infra.storage.overlay import Overlay


@pytest.fixture
def below(store: LocalStore) -> LocalStore:
    store.put_if_absent("a/old", b"old bytes")
    store.put_if_absent("a/deep/old", b"")
    return store


def test_it_reads_like_a_store_that_was_written_to(below: LocalStore) -> None:
    before = {path: path.read_bytes() for path in below.root.rglob("*") if path.is_file()}
    overlay = Overlay(below)
    assert overlay.uri == below.uri
    assert overlay.put_if_absent("a/old", b"other") is False
    assert overlay.put_if_absent("a/new/one", b"new bytes") is True
    assert overlay.put_if_absent("a/new/one", b"other") is False
    overlay.replace("a/deep/old", b"replaced")
    assert overlay.read("a/old", 4, 3) == b"byt"
    assert overlay.read("a/new/one", 4) == b"bytes"
    assert overlay.read("a/deep/old") == b"replaced"
    assert overlay.folders("a") == ["a/deep", "a/new"]
    assert overlay.newest_folders("a") == ["a/new", "a/deep"]
    assert overlay.list("a") == overlay.list(".") == ["a/deep/old", "a/new/one", "a/old"]
    sizes = {one.name: one.bytes for one in overlay.objects("a")}
    assert sizes == {"a/deep/old": 8, "a/new/one": 9, "a/old": 9}
    overlay.delete("a/old")
    overlay.delete("a/deep/old")
    assert overlay.list("a") == [one.name for one in overlay.objects("a")] == ["a/new/one"]
    assert not overlay.exists("a/old")
    with pytest.raises(FileNotFoundError):
        overlay.read("a/deep/old")
    assert overlay.put_if_absent("a/old", b"again") is True
    assert {path: path.read_bytes() for path in below.root.rglob("*") if path.is_file()} == before


def test_a_store_that_does_not_exist_reads_like_an_empty_one(tmp_path: Path) -> None:
    overlay = Overlay(LocalStore(tmp_path / "nowhere"))
    overlay.make()
    assert overlay.folders("a") == overlay.list("a") == overlay.list(".") == []
    assert overlay.put_if_absent("a/b", b"1") is True
    assert not (tmp_path / "nowhere").exists()
