"""S3 through a bad network: every put settles, with the right bytes and the right answer, or fails in time."""

import random
import socket
import time
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import StorageError
from infra.storage import s3
from infra.storage.s3_client import Limits
from infra.storage.s3_store import S3Store
from tests.faults.proxy import Fault, Proxy, Seen
from tests.infra.conftest import QUICK
from tests.servers import BUCKET, SECRET_KEY, free_ports

FAULTS = {
    "500": Fault("status", 500),
    "503": Fault("status", 503),
    "429": Fault("status", 429),
    "409": Fault("status", 409),
    "delay": Fault("delay", seconds=0.05),
    "timeout": Fault("delay_after", seconds=0.7),
    "reset before": Fault("reset_before"),
    "reset after": Fault("reset_after"),
    "500 after": Fault("status_after", 500),
    "cut": Fault("cut"),
}
# Those after which the store has the object and the client does not know.
LOST = ("timeout", "reset after", "500 after")
HASTY = Limits(total_s=20, connect_s=1, read_s=0.5, first_wait_s=0.01, longest_wait_s=0.1)


@pytest.fixture
def bad_store(proxy: Proxy) -> S3Store:
    """An empty root behind it."""
    return S3Store(BUCKET, f"tests/{uuid.uuid4().hex}", HASTY)


def first(fault: Fault, method: str = "") -> Callable[[int, Seen], Fault | None]:
    """A plan: the first request of a method meets the fault."""
    met = []

    def plan(_: int, seen: Seen) -> Fault | None:
        if met or (method and seen.method != method):
            return None
        met.append(seen)
        return fault

    return plan


@pytest.mark.parametrize("name", FAULTS)
def test_a_put_that_meets_a_fault_still_wins(bad_store: S3Store, proxy: Proxy, name: str) -> None:
    proxy.set(first(FAULTS[name], "PUT"))
    assert bad_store.put_if_absent("a", b"mine") is True
    assert any(seen.fault for seen in proxy.seen)
    assert bad_store.read("a") == b"mine"
    if name in LOST:
        statuses = [seen.status for seen in proxy.seen if seen.method == "PUT"]
        assert statuses == [200, 412], "the first one wrote, the second one found it"


@pytest.mark.parametrize("name", FAULTS)
def test_a_replacement_that_meets_a_fault_is_sent_again(bad_store: S3Store, proxy: Proxy, name: str) -> None:
    bad_store.put_if_absent("a", b"old")
    proxy.set(first(FAULTS[name], "PUT"))
    bad_store.replace("a", b"new")
    assert any(seen.fault for seen in proxy.seen)
    assert bad_store.read("a") == b"new"


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("there", [b"other", b"mine"])
def test_a_put_of_a_taken_name_loses_whatever_it_meets(
    bad_store: S3Store, proxy: Proxy, name: str, there: bytes
) -> None:
    bad_store.put_if_absent("a", there)
    proxy.set(first(FAULTS[name], "PUT"))
    won = bad_store.put_if_absent("a", b"mine")
    # A lost answer and the same bytes: nobody can tell whose they are, and it does not matter.
    in_doubt = name in (*LOST, "500", "503", "reset before", "cut")
    assert won is False or (there == b"mine" and in_doubt)
    assert bad_store.read("a") == there


@pytest.mark.parametrize("name", FAULTS)
def test_reads_and_listings_do_not_mind(bad_store: S3Store, proxy: Proxy, name: str) -> None:
    data = bytes(range(256)) * 4000
    bad_store.put_if_absent("a/b", data)
    for call, expected in (
        (lambda: bad_store.read("a/b"), data),
        (lambda: bad_store.exists("a/b"), True),
        (lambda: bad_store.list("a"), ["a/b"]),
        (lambda: bad_store.delete("none"), None),
    ):
        proxy.set(first(FAULTS[name]))
        assert call() == expected
        assert proxy.seen[0].fault == FAULTS[name]


def test_two_hundred_puts_under_faults_of_six_kinds_all_settle(bad_store: S3Store, proxy: Proxy) -> None:
    kinds = [FAULTS[name] for name in ("500", "503", "409", "reset before", "reset after", "500 after")]
    chance = random.Random(7)
    proxy.set(lambda _, seen: chance.choice(kinds) if chance.random() < 0.1 else None)
    # Each name has two writers, of different bytes.
    jobs = [(f"units/{number:03d}", writer) for number in range(100) for writer in (b"one", b"two")]

    def put(job: tuple[str, bytes]) -> bool:
        return bad_store.put_if_absent(job[0], job[1] + job[0].encode() * 100)

    with ThreadPoolExecutor(4) as pool:
        won = dict(zip(jobs, pool.map(put, jobs), strict=True))
    assert len([seen for seen in proxy.seen if seen.fault]) >= 10
    proxy.set(lambda _, seen: None)
    for number in range(100):
        name = f"units/{number:03d}"
        winners = [writer for writer in (b"one", b"two") if won[name, writer]]
        assert len(winners) == 1, name
        assert bad_store.read(name) == winners[0] + name.encode() * 100


# Far above what these limits allow, on however slow a machine.
_HANGS_S = 20


class TestNoStore:
    def attempt(self, store: S3Store) -> None:
        for call in (store.make, lambda: store.read("a"), lambda: store.list("a"), lambda: store.exists("a")):
            started = time.monotonic()
            with pytest.raises(StorageError, match="has failed for") as caught:
                call()
            assert time.monotonic() - started < _HANGS_S
            assert caught.value.exit_code == 4
            assert SECRET_KEY not in "".join(traceback.format_exception(caught.value))

    def test_a_dead_port(self, moto_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
        self.attempt(S3Store(BUCKET, "x", Limits(total_s=0.3, connect_s=0.2, read_s=0.2)))

    def test_a_black_hole(self, moto_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as hole:
            hole.bind(("127.0.0.1", 0))
            hole.listen(64)
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{hole.getsockname()[1]}")
            self.attempt(S3Store(BUCKET, "x", Limits(total_s=0.5, connect_s=0.2, read_s=0.2)))

    @pytest.mark.parametrize("name", ["500", "503", "429", "reset before", "409"])
    def test_one_that_stays_broken(self, bad_store: S3Store, proxy: Proxy, name: str) -> None:
        proxy.set(lambda _, seen: FAULTS[name])
        self.attempt(S3Store(BUCKET, bad_store.prefix, Limits(total_s=0.3)))
        assert len(proxy.seen) < 30, "the waits grow"


def test_the_key_probed_is_removed_after_a_fault(bad_store: S3Store, proxy: Proxy) -> None:
    proxy.set(first(Fault("reset_after"), "PUT"))
    bad_store.make()
    assert bad_store.list(".") == []
    assert list(s3.list_objects(BUCKET, bad_store.prefix, limits=QUICK)) == []
