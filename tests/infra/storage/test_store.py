"""A store on disk or on S3: one writer takes a name, once and whole; a replaced object is never missing."""

import contextlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.digests import sha256
from infra.errors import ConfigError
from infra.storage.local_store import LocalStore
from infra.storage.store import Store
from tests.scripts import python


@pytest.fixture(params=["store", "moto_store", "seaweed_store"], ids=["local", "moto", "seaweed"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """An empty root of each kind."""
    opened: Store = request.getfixturevalue(request.param)
    opened.make()
    return opened


def test_what_was_put_is_read(any_store: Store) -> None:
    data = bytes(range(256)) * 5000
    assert any_store.put_if_absent("a/b/c.bin", data) is True
    assert any_store.read("a/b/c.bin") == data
    assert any_store.exists("a/b/c.bin")
    assert any_store.list(".") == ["a/b/c.bin"], "nothing else is left behind"


@pytest.mark.parametrize(
    ("start", "length", "part"),
    [(0, None, b"abcdef"), (2, None, b"cdef"), (0, 3, b"abc"), (2, 3, b"cde"), (4, 9, b"ef"), (6, 1, b""), (9, 1, b"")],
)
def test_a_stretch_is_read(any_store: Store, start: int, length: int | None, part: bytes) -> None:
    any_store.put_if_absent("a", b"abcdef")
    assert any_store.read("a", start, length) == part


def test_a_taken_name_keeps_its_bytes(any_store: Store) -> None:
    assert any_store.put_if_absent("a", b"first") is True
    assert any_store.put_if_absent("a", b"second") is False
    assert any_store.put_if_absent("a", b"first") is False
    assert any_store.read("a") == b"first"


def test_replaced_bytes_are_the_objects(any_store: Store) -> None:
    for data in (b"first", b"second and longer", b"", b"third"):
        any_store.replace("a/b", data)
        assert any_store.read("a/b") == data
    assert any_store.put_if_absent("a/b", b"fourth") is False, "the name is taken"
    assert any_store.put_if_absent("a/c", b"put") is True
    any_store.replace("a/c", b"replaced")
    assert any_store.read("a/c") == b"replaced"
    assert any_store.list(".") == ["a/b", "a/c"], "nothing else is left behind"


def test_a_reader_finds_either_version_whole_while_they_are_replaced(any_store: Store) -> None:
    versions = [bytes([number]) * 200_000 for number in range(2)]
    any_store.replace("page", versions[0])
    reads, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            reads.append(any_store.read("page"))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for number in range(1, 101):
                any_store.replace("page", versions[number % 2])
        finally:
            done.set()
        reader.result(timeout=60)
    assert len(reads) > 10
    assert set(reads) <= set(versions)


def test_empty_objects_count(any_store: Store) -> None:
    assert any_store.put_if_absent("empty", b"") is True
    assert any_store.exists("empty")
    assert any_store.put_if_absent("empty", b"x") is False


def test_missing_objects(any_store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        any_store.read("nowhere/at/all")
    assert not any_store.exists("nowhere")
    any_store.delete("nowhere")
    assert any_store.list("nowhere") == []


def test_a_folder_is_not_an_object(any_store: Store) -> None:
    any_store.put_if_absent("a/b", b"x")
    assert not any_store.exists("a")


def test_list_is_sorted_and_stays_below_its_folder(any_store: Store) -> None:
    for name in ("u/10", "u/2", "u/deep/er", "uu/1", "v"):
        any_store.put_if_absent(name, b"")
    assert any_store.list("u") == ["u/10", "u/2", "u/deep/er"]
    assert any_store.list(".") == ["u/10", "u/2", "u/deep/er", "uu/1", "v"]


def test_folders_are_those_directly_inside(any_store: Store) -> None:
    assert any_store.folders("train") == []
    for name in ("train/b/plan.json", "train/a/units/1.json", "train/a/plan.json", "train/file", "trained/x/y"):
        any_store.put_if_absent(name, b"")
    assert any_store.folders("train") == ["train/a", "train/b"]
    assert any_store.folders("train/a") == ["train/a/units"]
    assert sorted(any_store.newest_folders("train")) == any_store.folders("train")
    assert [name for name in any_store.folders(".") if not name.startswith(".")] == ["train", "trained"]


def test_objects_have_their_sizes_and_times(any_store: Store) -> None:
    before_s = time.time()
    for name, size in (("u/2", 3), ("u/10", 0), ("v", 7)):
        any_store.put_if_absent(name, b"x" * size)
    found = sorted(any_store.objects("."))
    assert [(one.name, one.bytes) for one in found] == [("u/10", 0), ("u/2", 3), ("v", 7)]
    assert all(before_s - 2 <= one.changed_s <= time.time() + 2 for one in found), "a store may keep whole seconds"
    assert max(one.changed_s for one in found) - 2 <= any_store.now_s() <= time.time() + 2
    assert [one.name for one in any_store.objects("u")] == ["u/10", "u/2"]
    assert list(any_store.objects("nowhere")) == []


def test_a_deleted_name_is_free_again(any_store: Store) -> None:
    any_store.put_if_absent("a", b"1")
    any_store.delete("a")
    assert not any_store.exists("a")
    assert any_store.put_if_absent("a", b"2")
    assert any_store.read("a") == b"2"


# SeaweedFS removes empty folders of its own some time later.
@pytest.mark.parametrize("kind", ["store", "moto_store"])
def test_a_deleted_object_leaves_no_empty_folder(request: pytest.FixtureRequest, kind: str) -> None:
    store: Store = request.getfixturevalue(kind)
    for name in ("train/a/units/1.json", "train/b/plan.json"):
        store.put_if_absent(name, b"")
    store.delete("train/a/units/1.json")
    assert store.folders("train") == ["train/b"]


def test_a_folder_that_others_keep_emptying_takes_files_and_lists(store: LocalStore) -> None:
    """A removal may take an empty folder away between the look at it and the use of it."""
    done = threading.Event()

    def empty() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                (store.root / "a" / "b").rmdir()
            time.sleep(0.0002)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(empty)
        try:
            for number in range(200):
                assert store.put_if_absent(f"a/b/{number}", b"x") is True
                store.replace("a/b/same", b"x")
                store.delete(f"a/b/{number}")
                store.delete("a/b/same")
                assert store.list("a/b") == []
        finally:
            done.set()
        other.result(timeout=60)
    assert store.list(".") == []


def test_a_folder_that_cannot_be_read_is_not_passed_over(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count of the objects that are referred to must not miss one."""
    store.put_if_absent("a/b", b"")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"not allowed: .*/a"):
        list(store.objects("."))
    assert store.list(".") == []


def test_sha256_is_sha256() -> None:
    # The digest of "abc", FIPS 180-2 appendix B.1.
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


RACE = """
import json, sys, time
from pathlib import Path
from infra.storage.open import open_store
root, worker, gate = sys.argv[1:]
store = open_store(root)
print("ready", flush=True)
while not Path(gate).exists():
    time.sleep(0.001)
won = [k for k in range(50) if store.put_if_absent(f"units/{k:02d}", f"{worker} {k} ".encode() * 2000)]
print(json.dumps(won))
"""


# Not on moto, whose look whether a key is taken and put are two steps.
@pytest.mark.parametrize("kind", ["store", "seaweed_store"])
def test_of_four_racing_processes_one_wins_each_key(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    store: Store = request.getfixturevalue(kind)
    gate = tmp_path / "go"
    racers = [python(RACE, store.uri, worker, gate) for worker in range(4)]
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
    assert len(store.list(".")) == 50, "losers leave nothing behind"


@pytest.mark.parametrize(
    "name", ["digits-train.learning_rate=0.008-1a2b3c4d", "a=1,b=2+3,+4-0f", "+", "=,", "a..b", "..a", "-_.=,+"]
)
def test_names_of_runs_are_names(any_store: Store, name: str) -> None:
    """Also where they become part of an address, in which some of these signs mean something."""
    path = f"reports/{name}/run.json"
    assert any_store.put_if_absent(path, b"1") is True
    assert any_store.put_if_absent(path, b"2") is False
    assert any_store.read(path) == b"1"
    assert any_store.exists(path)
    assert any_store.list("reports") == any_store.list(f"reports/{name}") == [path]
    any_store.delete(path)
    assert any_store.list(".") == []


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
def test_hostile_names_are_refused_by_every_call(any_store: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    calls = (
        any_store.read,
        any_store.exists,
        any_store.folders,
        any_store.list,
        lambda n: list(any_store.objects(n)),
        any_store.delete,
        lambda n: any_store.put_if_absent(n, b""),
        lambda n: any_store.replace(n, b""),
    )
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call(name)
        assert caught.value.exit_code == 2
        assert str(caught.value).isprintable()
    assert (tmp_path / "x").read_bytes() == b"outside"
    assert any_store.list(".") == []
