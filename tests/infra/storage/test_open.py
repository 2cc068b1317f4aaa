"""The store that an address names, and the file that one names."""

import os
from pathlib import Path

import pytest

from infra.errors import ConfigError, InputError
from infra.storage import s3
from infra.storage.local_store import LocalStore
from infra.storage.open import open_file, open_store, read_file
from infra.storage.s3_store import S3Store


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert isinstance(store, LocalStore)
    assert store.uri == str(tmp_path)


def test_what_is_neither_path_nor_s3_is_refused() -> None:
    for opened in (open_store, lambda uri: read_file(uri, 10), open_file):
        with pytest.raises(ConfigError):
            opened("ftp://host/folder")


def test_a_file_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_bytes(b"0123")
    monkeypatch.chdir(tmp_path)
    for location in (str(tmp_path / "a file"), f"file://{tmp_path}/a file", "a file"):
        assert read_file(location, 4) == b"0123"


def test_no_file_a_folder_and_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5))
    for name, cause in (("nothing", "is not there"), ("", "cannot be read"), ("large", "is larger than")):
        with pytest.raises(InputError, match=cause) as caught:
            read_file(str(tmp_path / name), 4)
        assert caught.value.item == str(tmp_path / name)


def test_a_file_on_s3(moto_store: S3Store) -> None:
    moto_store.put_if_absent("a/file.pth", b"0123")
    assert read_file(f"{moto_store.uri}/a/file.pth", 4) == b"0123"
    with pytest.raises(InputError, match="is larger than"):
        read_file(f"{moto_store.uri}/a/file.pth", 3)
    with pytest.raises(InputError, match="is not there") as caught:
        read_file(f"{moto_store.uri}/a/other.pth", 4)
    assert caught.value.item == f"{moto_store.uri}/a/other.pth"


def test_of_an_open_file_on_s3_only_what_is_asked_for_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * (1 << 12)
    fetched: list[int] = []

    def get(bucket: str, key: str, *, start: int, length: int) -> bytes:
        assert (bucket, key) == ("bucket", "a/large.npz")
        fetched.append(length)
        return data[start : start + length]

    monkeypatch.setattr(s3, "head", lambda _, key: s3.S3Object(key, len(data), "e") if "large" in key else None)
    monkeypatch.setattr(s3, "get", get)
    with open_file("s3://bucket/a/large.npz") as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]
        file.seek(5)
        assert file.read(3) == data[5:8]
    assert sum(fetched) < len(data) // 4
    with pytest.raises(InputError, match="is not there"):
        open_file("s3://bucket/none.npz")


def test_an_open_file_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123")
    with open_file(str(tmp_path / "a")) as file:
        file.seek(2)
        assert file.read() == b"23"
    for name, cause in (("nothing", "is not there"), ("", "cannot be read")):
        with pytest.raises(InputError, match=cause):
            open_file(str(tmp_path / name))
