"""The S3 store alone: one winner among many, other processes, and the probe."""

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import ConfigError
from infra.storage.s3_store import S3Store
from tests.faults.proxy import Fault, Seen, fault_proxy
from tests.infra.conftest import QUICK
from tests.scripts import python
from tests.servers import Server


def test_of_sixteen_racing_writers_one_wins(seaweed_store: S3Store) -> None:
    def write(writer: int) -> bool:
        return seaweed_store.put_if_absent(name, str(writer).encode() * 10_000)

    with ThreadPoolExecutor(16) as pool:
        for name in ("a", "b"):
            won = list(pool.map(write, range(16)))
            assert won.count(True) == 1, name
            assert seaweed_store.read(name) == str(won.index(True)).encode() * 10_000


def test_of_racing_replacements_one_is_there_whole(seaweed_store: S3Store) -> None:
    versions = [bytes([writer]) * 10_000 for writer in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda data: seaweed_store.replace("a", data), versions))
    assert seaweed_store.read("a") in versions


def test_a_store_survives_pickle_and_fork_and_threads(seaweed_store: S3Store) -> None:
    seaweed_store.put_if_absent("a", b"x" * 1000)
    copy = pickle.loads(pickle.dumps(seaweed_store))
    assert copy == seaweed_store
    assert copy.limits == QUICK
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(copy.read, ["a"] * 50)) == {b"x" * 1000}
    children = [multiprocessing.get_context("fork").Process(target=_read_or_die, args=(copy,)) for _ in range(3)]
    for child in children:
        child.start()
    seaweed_store.read("a")
    for child in children:
        child.join(timeout=30)
        assert child.exitcode == 0


def _read_or_die(s3_store: S3Store) -> None:
    os._exit(0 if all(s3_store.read("a") == b"x" * 1000 for _ in range(20)) else 1)


def test_local_runs_load_no_s3_client() -> None:
    code = "import sys, infra.storage.open as s; s.open_store('/tmp/x'); assert 'botocore' not in sys.modules"
    assert python(code).wait(timeout=60) == 0


class TestProbe:
    def test_it_leaves_nothing(self, s3_store: S3Store) -> None:
        s3_store.make()
        assert s3_store.list(".") == []

    def test_a_store_that_overwrites_is_refused(
        self, moto_store: S3Store, moto: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with fault_proxy(moto.url, without=("if-none-match",)) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            with pytest.raises(ConfigError, match="If-None-Match") as caught:
                moto_store.make()
            assert caught.value.exit_code == 2
            assert moto_store.list(".") == []

    def test_a_store_that_cannot_is_refused(
        self, moto_store: S3Store, moto: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(_: int, seen: Seen) -> Fault | None:
            return Fault("status", 501) if seen.method == "PUT" else None

        with fault_proxy(moto.url) as proxy:
            proxy.set(never)
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            with pytest.raises(ConfigError, match="cannot do this"):
                moto_store.make()
