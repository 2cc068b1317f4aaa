"""Holders, clocks and stores for tests of leases."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from infra.outputs.lease_holder import Holder
from infra.storage.store import Store
from tests.scripts import python

NAME = "train/0123456789/lease"


def holder(who: str = "a") -> Holder:
    return Holder.here(who, datetime.now(UTC))


def elsewhere() -> Holder:
    return replace(holder("far"), machine="another", host="node7")


def number(n: int) -> str:
    return f"{NAME}/{n:012}.json"


def ended() -> Holder:
    child = python("pass")
    child.wait(timeout=60)
    return replace(holder("dead"), pid=child.pid)


def never(line: str) -> None:
    pytest.fail(f"waited: {line}")


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class FakeTime:
    now: float = 1000.0
    on_tick: Callable[[float], None] = field(default=lambda _: None)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_tick(self.now - 1000)


class Hooked:
    """A store that calls `before_put` and `after_put`, which may raise, and `listed` with what it lists."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before_put: Callable[[], None] = lambda: None
        self.after_put: Callable[[], None] = lambda: None
        self.listed: Callable[[list[str]], list[str]] = lambda names: names

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def list(self, prefix: str) -> list[str]:
        return self.listed(self._store.list(prefix))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        self.before_put()
        done = self._store.put_if_absent(name, data)
        self.after_put()
        return done
