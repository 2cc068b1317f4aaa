"""Signals while Ray works: what a handler of ours raises comes at once and as it is."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import ray

from infra.compute.cluster import Cluster
from infra.compute.ray_signals import interrupts_kept
from infra.errors import Interrupted

LONG_S = 30.0
AT_ONCE_S = 5.0


class _NoExit(BaseException):
    """As Prefect's own handler raises."""


@ray.remote(num_cpus=0)
def _sleep() -> None:
    time.sleep(LONG_S)


WAITS: dict[str, Callable[[], object]] = {
    "get": lambda: ray.get(_sleep.remote()),
    "wait": lambda: ray.wait([_sleep.remote()], timeout=LONG_S),
    "elsewhere": lambda: time.sleep(LONG_S),
}


@pytest.fixture
def handled() -> Iterator[Callable[[signal.Signals, BaseException], None]]:
    """Lets a signal raise an exception."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def handle(number: signal.Signals, error: BaseException) -> None:
        def handler(*_: object) -> None:
            raise error

        signal.signal(number, handler)

    yield handle
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize(
    "error", [Interrupted(143), _NoExit(), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_a_handler_raises_comes_at_once_and_as_it_is(
    ray_cluster: Cluster, handled: Callable[..., None], number: signal.Signals, wait: str, error: BaseException
) -> None:
    ray_cluster.connect()
    handled(number, error)
    handler = signal.getsignal(number)
    began = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    with pytest.raises(type(error)) as caught, interrupts_kept():
        WAITS[wait]()
    assert caught.value is error
    assert time.monotonic() - began < AT_ONCE_S
    assert signal.getsignal(number) is handler


def test_a_signal_that_ends_nothing_goes_by(handled: Callable[..., None]) -> None:
    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    with interrupts_kept():
        signal.raise_signal(signal.SIGUSR1)
    assert seen == [signal.SIGUSR1]


def test_a_handler_that_ray_put_in_its_place_does_not_have_the_last_word(handled: Callable[..., None]) -> None:
    """While Ray starts, its own handler of SIGTERM ends its processes and exits."""
    mine = Interrupted(143)
    handled(signal.SIGTERM, mine)

    def start() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted) as caught, interrupts_kept():
        start()
    assert caught.value is mine


def test_outside_the_main_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with interrupts_kept():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(AT_ONCE_S)
    assert seen == [before]


@pytest.mark.parametrize("swallowed", [True, False])
def test_an_interrupt_that_the_block_swallows_or_replaces_comes_all_the_same(
    handled: Callable[..., None], swallowed: bool
) -> None:
    mine = Interrupted(143)
    handled(signal.SIGTERM, mine)

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            if not swallowed:
                raise ValueError("something else") from None

    with pytest.raises(Interrupted) as caught, interrupts_kept():
        work()
    assert caught.value is mine
