"""A writer that dies at any request of a commit or a seal: whoever comes next ends with the same bytes."""

import uuid
from typing import Any

import pytest

from infra.outputs.manifest import verify
from infra.outputs.plan import Output, Plan
from infra.storage import s3
from infra.storage.s3_client import Limits, client
from infra.storage.s3_store import S3Store
from tests.faults.proxy import Fault, Proxy
from tests.infra.conftest import QUICK
from tests.infra.outputs.example import seal
from tests.scripts import python
from tests.servers import BUCKET


class _KilledError(BaseException):
    """No handler of the program's catches it, as none catches SIGKILL."""


class _Mortal:
    """A client that ends the program before or after its n-th request."""

    def __init__(self, real: Any, last: int, after: bool) -> None:
        self._real, self._left, self._after = real, last, after

    def __getattr__(self, name: str) -> Any:
        def call(**parameters: object) -> Any:
            self._left -= 1
            if self._left < 0 and not self._after:
                raise _KilledError
            reply = getattr(self._real, name)(**parameters)
            if self._left < 0:
                raise _KilledError
            return reply

        return call


def fresh(plan: Plan) -> Output:
    return Output(store=S3Store(BUCKET, f"tests/{uuid.uuid4().hex}", QUICK), plan=plan)


def contents(output: Output) -> dict[str, bytes]:
    return {name: output.store.read(name) for name in output.store.list(".")}


@pytest.fixture
def undisturbed(plan: Plan, proxy: Proxy) -> tuple[dict[str, bytes], int]:
    """Return the objects in the end, and the number of requests."""
    output = fresh(plan)
    proxy.set(lambda *_: None)
    seal(output, count=1)
    requests = len(proxy.seen)
    return contents(output), requests


def test_killed_at_every_request_the_next_run_ends_the_same(
    plan: Plan, undisturbed: tuple[dict[str, bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, count = undisturbed
    assert count >= 7
    for number in range(count):
        for after in (False, True):
            output = fresh(plan)
            mortal = _Mortal(client(QUICK), number, after)
            with monkeypatch.context() as patch:
                patch.setattr(s3, "client", lambda _, mortal=mortal: mortal)
                with pytest.raises(_KilledError):
                    seal(output, count=1)
            manifest = seal(output, count=1)
            verify(output.store, manifest)
            assert contents(output) == expected, f"killed at request {number}, {after=}"


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_a_connection_lost_at_every_request_changes_nothing(
    plan: Plan, proxy: Proxy, undisturbed: tuple[dict[str, bytes], int], kind: str
) -> None:
    expected, count = undisturbed
    for lost in range(count):
        output = fresh(plan)
        proxy.set(lambda number, _, lost=lost: Fault(kind) if number == lost else None)
        verify(output.store, seal(output, count=1))
        assert proxy.seen[lost].fault
        proxy.set(lambda *_: None)
        assert contents(output) == expected, f"lost at request {lost}"


DYING = """
import os, sys
from infra.storage import s3
from infra.outputs.plan import Output, Plan
from infra.storage.s3_client import client
from infra.storage.open import open_store
from tests.infra.outputs.example import seal
uri, stop = sys.argv[1], int(sys.argv[2])
count = 0
class Dying:
    def __init__(self, real):
        self.real = real
    def __getattr__(self, name):
        def call(**parameters):
            global count
            reply = getattr(self.real, name)(**parameters)
            count += 1
            if count > stop:
                os._exit(137)
            return reply
        return call
s3.client = lambda limits: Dying(client(limits))
plan = Plan(stage="bake", format_version=1, settings={"heat": 180, "parts": [1, 2]}, inputs={"dough": "ab" * 32})
seal(Output(store=open_store(uri), plan=plan), count=1)
"""


@pytest.mark.parametrize("stop", [1, 3])
def test_a_process_that_dies_leaves_nothing_that_hinders(
    plan: Plan, undisturbed: tuple[dict[str, bytes], int], stop: int
) -> None:
    expected, _ = undisturbed
    output = fresh(plan)
    dying = python(DYING, output.store.uri, stop)
    dying.communicate(timeout=60)
    assert dying.returncode == 137
    assert len(contents(output)) == stop + 1
    verify(output.store, seal(output, count=1))
    assert contents(output) == expected


def test_a_zombie_that_wakes_up_after_all_is_sealed_changes_nothing(
    plan: Plan, proxy: Proxy, undisturbed: tuple[dict[str, bytes], int]
) -> None:
    expected, _ = undisturbed
    output = fresh(plan)
    seal(output, count=1)
    late = Output(store=S3Store(BUCKET, output.store.uri.partition(f"{BUCKET}/")[2], Limits()), plan=plan)
    assert late.commit("units/000000", "bin", b"other bytes", {}) == output.record("units/000000")
    assert contents(output) == expected
