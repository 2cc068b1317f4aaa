"""Signals while Ray works: it replaces their handlers, and its native waits change what a handler raises.

A `SystemExit` leaves `ray.get` and `ray.wait` as another one with exit code 1. Anything else but a `KeyboardInterrupt`
is held back until the wait is over, and then comes as a `SystemError`. While Ray starts, its own handler of SIGTERM
ends the process.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise the exceptions of our signal handlers in the block at once and unchanged; keep the handlers.

    Inside the block an exception travels as a `SystemExit`, which Ray's waits let through.

    Raises:
        BaseException: The last exception that a handler raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised: list[BaseException] = []
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) is not None}
    try:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, _recording(handler, raised))
        yield
    except BaseException as error:
        _restore(before)
        if raised:
            raise raised[-1] from None
        if isinstance(error, SystemExit):
            signal.raise_signal(signal.SIGTERM)  # Ray's handler took it
        raise
    finally:
        _restore(before)
    if raised:  # something in the block took the exit for its own
        raise raised[-1]


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _recording(handler: Callable[[int, FrameType | None], Any], raised: list[BaseException]) -> Callable[..., None]:
    def handle(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise SystemExit from error

    return handle
