"""The store's one promise: a name is taken once, whole, by one writer, whatever happens meanwhile."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.errors import ConfigError, ResourceError, StorageError
from infra.store import LocalStore, open_store, sha256

REPOSITORY = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files(store: LocalStore) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


def test_what_was_put_is_read(store: LocalStore) -> None:
    data = bytes(range(256)) * 5000
    assert store.put_if_absent("a/b/c.bin", data) is True
    assert store.read("a/b/c.bin") == data
    assert store.exists("a/b/c.bin")
    assert files(store) == ["a/b/c.bin"], "nothing else is left behind"


def test_a_taken_name_keeps_its_bytes(store: LocalStore) -> None:
    assert store.put_if_absent("a", b"first") is True
    assert store.put_if_absent("a", b"second") is False
    assert store.put_if_absent("a", b"first") is False
    assert store.read("a") == b"first"


def test_empty_objects_count(store: LocalStore) -> None:
    assert store.put_if_absent("empty", b"") is True
    assert store.exists("empty")
    assert store.put_if_absent("empty", b"x") is False


def test_missing_objects(store: LocalStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nowhere/at/all")
    assert not store.exists("nowhere")
    store.delete("nowhere")
    assert store.list("nowhere") == []


def test_a_folder_is_not_an_object(store: LocalStore) -> None:
    store.put_if_absent("a/b", b"x")
    assert not store.exists("a")
    with pytest.raises(ConfigError):
        store.read("a")


def test_list_is_sorted_and_stays_below_its_folder(store: LocalStore) -> None:
    for name in ("u/10", "u/2", "u/deep/er", "uu/1", "v"):
        store.put_if_absent(name, b"")
    assert store.list("u") == ["u/10", "u/2", "u/deep/er"]


def test_a_deleted_name_is_free_again(store: LocalStore) -> None:
    store.put_if_absent("a", b"1")
    store.delete("a")
    assert not store.exists("a")
    assert store.put_if_absent("a", b"2")
    assert store.read("a") == b"2"


def test_sha256_is_sha256() -> None:
    # The digest of "abc", FIPS 180-2 appendix B.1.
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


RACE = """
import json, sys, time
from pathlib import Path
from infra.store import open_store
root, worker, gate = sys.argv[1:]
store = open_store(root)
print("ready", flush=True)
while not Path(gate).exists():
    time.sleep(0.001)
won = [k for k in range(50) if store.put_if_absent(f"units/{k:02d}", f"{worker} {k} ".encode() * 2000)]
print(json.dumps(won))
"""


def test_of_four_racing_processes_one_wins_each_key(store: LocalStore, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    racers = [python(RACE, store.root, worker, gate) for worker in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    gate.touch()
    winners: dict[int, int] = {}
    for worker, racer in enumerate(racers):
        out, err = racer.communicate(timeout=60)
        assert racer.returncode == 0, err
        for key in json.loads(out):
            assert key not in winners, f"{key} was won by {winners[key]} and by {worker}"
            winners[key] = worker
    assert sorted(winners) == list(range(50))
    for key, worker in winners.items():
        assert store.read(f"units/{key:02d}") == f"{worker} {key} ".encode() * 2000
    assert len(files(store)) == 50, "losers leave nothing behind"


KILLED = """
import os, signal, sys
from infra.store import open_store
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


FULL = """
import resource, sys
from infra.store import open_store
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
    fsync, link = os.fsync, os.link

    def watch_fsync(handle: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def watch_link(source: Path, target: Path) -> None:
        order.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "link", watch_link)
    store.put_if_absent("a/b", b"x")
    assert order == ["file", "link", "folder"]


HOSTILE = (
    "../x",
    "/abs",
    "a//b",
    "a/../b",
    "..",
    "a/..",
    "",
    "/",
    "a/",
    "a\x00b",
    "a\nb",
    "a\n",
    "\x1b[31m",
    "a b",
    "ä",
    "a\\b",
    "~",
    "a:b",
    "%2e%2e/x",
    "a\u202eb",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_by_every_call(store: LocalStore, tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    calls = (store.read, store.exists, store.list, store.delete, lambda n: store.put_if_absent(n, b""))
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call(name)
        assert caught.value.exit_code == 2
        assert str(caught.value).isprintable()
    assert (tmp_path / "x").read_bytes() == b"outside"
    assert files(store) == []


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
    assert time.monotonic() - started < 1
