"""The notice that a worker's machine is about to go: SIGTERM to the worker, or a node that Ray drains.

Ray's own handler of SIGTERM ends a worker at once, with all since its last checkpoint. Python lets only the main thread
set a handler, and Ray Train runs its function in another one. So the handler is set before the function starts, and the
function finds it in the process's table of signals.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


class PreemptedError(Exception):
    """The work was saved because its machine is about to go; the group starts again from there."""


class Notice:
    """A handler of SIGTERM that lets work in progress save itself.

    Args:
        otherwise: Receives the signal if nothing is in progress, and a second signal.

    Attributes:
        is_given: Whether the process is to go.
    """

    def __init__(self, otherwise: Handler | int | None = None) -> None:
        self.is_given = False
        self._otherwise, self._at_work = otherwise, False
        self._is_installed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self._at_work and not self.is_given:
            self.is_given = True
            return
        if callable(self._otherwise):
            self._otherwise(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def node_is_drained(self) -> bool:
        """Tell whether Ray drains the node of any worker of this group.

        All workers must call it equally often, since they wait for each other.
        """
        if not self._is_installed:
            return False
        try:
            from ray.train import get_preemption_info
        except ImportError:  # older than 2.60
            return False
        return get_preemption_info() is not None

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the block, which looks at `is_given`, save its work after a signal."""
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False


def install_notice() -> None:
    """Have SIGTERM to this worker of Ray Train give notice; it does nothing in any other thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if not isinstance(before, Notice):
        notice = Notice(before)
        notice._is_installed = True
        signal.signal(signal.SIGTERM, notice)


def current_notice() -> Notice:
    """Return this process's notice, or one that is never given if none is installed."""
    handler: Any = signal.getsignal(signal.SIGTERM)
    return handler if isinstance(handler, Notice) else Notice()
