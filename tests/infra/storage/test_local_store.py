"""The promise on a local disk: whatever the system does, a name is taken once, and whole."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError, ResourceError, StorageError
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from tests.scripts import python


def files(store: LocalStore) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


def test_nothing_else_is_left_behind(store: LocalStore) -> None:
    store.put_if_absent("a/b/c.bin", b"x")
    assert files(store) == ["a/b/c.bin"]


def test_a_folder_cannot_be_read(store: LocalStore) -> None:
    store.put_if_absent("a/b", b"x")
    with pytest.raises(ConfigError):
        store.read("a")


def test_the_newest_folder_comes_first(store: LocalStore) -> None:
    assert store.newest_folders("train") == []
    for name in ("train/a/plan.json", "train/b/plan.json", "train/c/plan.json", "train/file"):
        store.put_if_absent(name, b"")
    for age, name in enumerate(("b", "c", "a")):
        os.utime(store.root / "train" / name, (1000 - age, 1000 - age))
    assert store.newest_folders("train") == ["train/b", "train/c", "train/a"]


KILLED = """
import os, signal, sys
from infra.storage.open import open_store
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], die)
open_store(sys.argv[1]).put_if_absent("units/0", b"x" * 100000)
"""


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_killed_before_the_link_nothing_is_visible(store: LocalStore, call: str) -> None:
    victim = python(KILLED, store.root, call)
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL
    assert not store.exists("units/0")
    assert store.list("units") == []
    with pytest.raises(FileNotFoundError):
        store.read("units/0")
    assert store.put_if_absent("units/0", b"whole"), "the next writer finds the name free"
    assert store.read("units/0") == b"whole"


def test_killed_after_the_link_the_object_is_whole(store: LocalStore) -> None:
    victim = python(KILLED, store.root, "unlink")
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL
    assert store.read("units/0") == b"x" * 100000
    assert store.list("units") == ["units/0"]


KILLED_REPLACING = KILLED.replace("put_if_absent", "replace")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_before_the_rename_the_old_bytes_stay(store: LocalStore, call: str) -> None:
    store.put_if_absent("units/0", b"old")
    victim = python(KILLED_REPLACING, store.root, call)
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL
    assert store.read("units/0") == b"old"
    assert store.list("units") == ["units/0"]


def test_killed_after_the_rename_the_new_bytes_are_whole(store: LocalStore) -> None:
    store.put_if_absent("units/0", b"old")
    victim = python(KILLED_REPLACING, store.root, "unlink")
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL
    assert store.read("units/0") == b"x" * 100000
    assert store.list("units") == ["units/0"]


FAILURES = [
    (errno.ENOSPC, ResourceError, 7),
    (errno.EDQUOT, ResourceError, 7),
    (errno.EFBIG, ResourceError, 7),
    (errno.EIO, StorageError, 4),
    (errno.ESTALE, StorageError, 4),
    (errno.EACCES, ConfigError, 2),
    (errno.EROFS, StorageError, 4),
]


@pytest.mark.parametrize("call", ["fsync", "link"])
@pytest.mark.parametrize(("number", "kind", "code"), FAILURES)
def test_the_systems_errors_become_ours_and_leave_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(kind) as caught:
            store.put_if_absent("units/0", b"data")
    assert caught.value.exit_code == code
    assert str(store.root) in str(caught.value), "the error says where"
    assert files(store) == []
    assert store.put_if_absent("units/0", b"data"), "the same call works once the cause is gone"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(("number", "kind", "code"), FAILURES)
def test_a_replacement_that_fails_leaves_the_old_bytes(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, call: str, number: int, kind: type, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "somewhere")

    store.put_if_absent("units/0", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(kind) as caught:
            store.replace("units/0", b"new")
    assert caught.value.exit_code == code
    assert files(store) == ["units/0"]
    assert store.read("units/0") == b"old"
    store.replace("units/0", b"new")
    assert store.read("units/0") == b"new", "the same call works once the cause is gone"


FULL = """
import resource, sys
from infra.storage.open import open_store
from infra.errors import ResourceError
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
store = open_store(sys.argv[1])
assert store.put_if_absent("small", b"x" * 1000)
try:
    store.put_if_absent("units/large", b"x" * 200_000)
except ResourceError as error:
    print(error.exit_code, error)
"""


def test_a_write_the_kernel_cuts_short_leaves_nothing(store: LocalStore) -> None:
    writer = python(FULL, store.root)
    out, err = writer.communicate(timeout=60)
    assert writer.returncode == 0, err
    assert out.startswith("7 ")
    assert "no space left for units/large" in out
    assert files(store) == ["small"]


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_the_return(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, link, rename = os.fsync, os.link, os.replace

    def watch_fsync(handle: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def watch_link(source: Path, target: Path) -> None:
        order.append("link")
        link(source, target)

    def watch_rename(source: Path, target: Path) -> None:
        order.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "link", watch_link)
    monkeypatch.setattr(os, "replace", watch_rename)
    store.put_if_absent("a/b", b"x")
    assert order == ["file", "link", "folder"]
    order.clear()
    store.replace("a/b", b"y")
    assert order == ["file", "rename", "folder"]


def test_a_file_in_place_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"a file")
    store = open_store(str(tmp_path / "root"))
    for call in (store.make, lambda: store.put_if_absent("a", b""), lambda: store.read("a")):
        with pytest.raises(ConfigError, match="not a folder") as caught:
            call()
        assert caught.value.exit_code == 2
        assert caught.value.remedy
    assert (tmp_path / "root").read_bytes() == b"a file"


def test_an_object_in_place_of_a_folder(store: LocalStore) -> None:
    store.put_if_absent("a", b"x")
    with pytest.raises(ConfigError, match="not a folder"):
        store.put_if_absent("a/b", b"y")
    assert files(store) == ["a"]


def test_a_put_that_lost_returns_at_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_if_absent("a", b"x")
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("a taken name needs no write"))
    started = time.monotonic()
    assert not store.put_if_absent("a", b"x" * 1_000_000)
    assert time.monotonic() - started < 10


def test_a_file_that_its_successor_replaces_while_it_is_listed_is_not_missed(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lease that is renewed between the listing of its folder and a look at its file."""
    walk = os.walk

    def renewed(folder: Path, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        listed = list(walk(folder, **options))
        store.put_if_absent("a/2", b"")
        store.delete("a/1")
        yield from listed

    store.put_if_absent("a/1", b"")
    (store.root / "a" / "broken").symlink_to("nowhere")
    monkeypatch.setattr(os, "walk", renewed)
    assert store.list("a") == ["a/1"]
