"""SIGTERM to a worker lets its work save itself; a second one, or one at another time, ends it as before."""

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from infra.compute.preemption import Notice, current_notice, install_notice
from tests.scripts import python

PROGRAM = """
import os, signal
from infra.compute.preemption import current_notice, install_notice

install_notice()
with current_notice().at_work():
    os.kill(os.getpid(), signal.SIGTERM)
    print("saved", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """The signals that come through to the handler that was there before."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


def test_the_first_signal_at_work_gives_notice_and_the_second_ends(taken: list[int]) -> None:
    install_notice()
    notice = current_notice()
    with notice.at_work():
        signal.raise_signal(signal.SIGTERM)
        assert (notice.is_given, taken) == (True, [])
        signal.raise_signal(signal.SIGTERM)
    assert taken == [signal.SIGTERM]


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_work_it_ends_at_once(taken: list[int], when: str) -> None:
    install_notice()
    notice = current_notice()
    if when == "after":
        with notice.at_work():
            pass
    signal.raise_signal(signal.SIGTERM)
    assert (notice.is_given, taken) == (False, [signal.SIGTERM])


def test_it_is_installed_once(taken: list[int]) -> None:
    install_notice()
    first = signal.getsignal(signal.SIGTERM)
    install_notice()
    assert signal.getsignal(signal.SIGTERM) is first


def test_a_process_without_one_is_never_given_notice(taken: list[int]) -> None:
    notice = current_notice()
    with notice.at_work():
        signal.raise_signal(signal.SIGTERM)
    assert (notice.is_given, taken, notice.node_is_drained()) == (False, [signal.SIGTERM], False)


def test_where_no_handler_was_the_second_signal_ends_the_process() -> None:
    """By the signal itself, so that its parent sees it."""
    child = python(PROGRAM)
    out, _ = child.communicate(timeout=60)
    assert "saved" in str(out)
    assert child.returncode == -signal.SIGTERM


def test_in_another_thread_nothing_is_installed(taken: list[int]) -> None:
    """Python lets no other thread set a handler, and a group must start all the same."""
    errors: list[BaseException] = []

    def install() -> None:
        try:
            install_notice()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert errors == []
    assert not isinstance(signal.getsignal(signal.SIGTERM), Notice)


def test_other_errors_are_no_notice() -> None:
    called: list[Callable[..., object]] = []
    notice = Notice(lambda *_: called.append(notice))
    notice(signal.SIGTERM, None)
    assert called == [notice]
