"""Beats between a group of workers and the driver: how far the work is, and whether it is to stop.

    Pulse, a thread beside the work  --beat, once a second-->  Heartbeat  <--poll--  Watch, on the driver

The reply to a beat carries the driver's wish to stop. A beat that fails never ends the work that it reports.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

# Prefect kills a cancelled process after 30 s.
GRACE_S = 20.0
# A look costs time of a core, of which the group may use all; more looks than beats bring nothing new.
_POLL_S = 1.0
_BEAT_S = 1.0
_LAST_BEAT_S = 5.0

# Takes JSON values; True asks the group to finish the step in hand, save it and return.
Beat = Callable[[dict[str, Any]], bool]


class Heartbeat(Protocol):
    """The latest beat of a group, and the wish that it stop."""

    def beat(self, about: dict[str, Any]) -> bool:
        """Take a beat from the group; return whether it is to stop."""

    def latest(self, wait_s: float = 0.0) -> tuple[int, dict[str, Any]]:
        """Return how many beats there were and the last one; wait at most `wait_s` for a fresh answer."""

    def request_stop(self) -> None:
        """Have every further beat answered by True."""


class LocalHeartbeat:
    """A heartbeat within one process."""

    def __init__(self) -> None:
        self._latest: tuple[int, dict[str, Any]] = (0, {})
        self._stop = False

    def beat(self, about: dict[str, Any]) -> bool:
        """Take a beat from the group; return whether it is to stop."""
        self._latest = (self._latest[0] + 1, about)
        return self._stop

    def latest(self, wait_s: float = 0.0) -> tuple[int, dict[str, Any]]:
        """Return how many beats there were and the last one."""
        return self._latest

    def request_stop(self) -> None:
        """Have every further beat answered by True."""
        self._stop = True


class Pulse:
    """Sends beats from a thread of its own, so that the work never waits for them.

    Args:
        beat: Receives each beat; None sends nothing, for workers of a higher rank.
        about: Makes a beat; called in the pulse's thread.
        every_s: Time between beats.

    Attributes:
        stop: Whether a reply has asked the work to stop.
    """

    def __init__(
        self, beat: Beat | None = None, about: Callable[[], dict[str, Any]] = dict, every_s: float = _BEAT_S
    ) -> None:
        self.stop = False
        self._beat, self._about, self._every_s = beat, about, every_s
        self._wake, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> "Pulse":
        if self._beat is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ended = True
        self._wake.set()
        if self._beat is not None:
            self._thread.join(_LAST_BEAT_S)

    def tell(self, about: Callable[[], dict[str, Any]]) -> None:
        """Make beats by `about` from now on, the first at once."""
        self._about = about
        self._wake.set()

    def _run(self) -> None:
        assert self._beat is not None, "a pulse without a beat has no thread"
        while True:
            ended = self._ended
            with contextlib.suppress(Exception):
                self.stop = self._beat(self._about()) or self.stop
            if ended:
                return
            self._wake.wait(self._every_s)
            self._wake.clear()


def _ignore(_: dict[str, Any]) -> None:
    pass


@dataclass(kw_only=True)
class Watch:
    """Follows a group from the driver, and ends it gently if the driver is interrupted.

    Attributes:
        heartbeat: The group's beats.
        on_poll: Called once per second; returns how much is kept so far, from which a new group goes on.
        on_beat: Receives each new beat.
        grace_s: How long an interrupted group may take to save its work.
    """

    heartbeat: Heartbeat
    on_poll: Callable[[], int]
    on_beat: Callable[[dict[str, Any]], None] = _ignore
    grace_s: float = GRACE_S
    _count: int = field(default=0, init=False)
    _working: bool = field(default=False, init=False)

    def follow(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread of its own and poll in this one, which stays interruptible.

        If a signal or a listener raises here, the group is asked to stop and has `grace_s` to save; then the same
        exception is raised. If the group has not begun its work, or at a second interrupt, this ends at once.
        """
        outcome: list[BaseException] = []
        # Not the thread's `join`: interrupted by a signal, it takes the thread for ended (CPython 3.11).
        ended = threading.Event()
        self._working = False
        try:
            threading.Thread(target=_call, args=(work, outcome, ended), name="group", daemon=True).start()
            while not ended.wait(_POLL_S):
                self.on_poll()
                self._hear(self.heartbeat.latest())
        except BaseException:
            self._stop(ended)
            raise
        self._hear(self.heartbeat.latest(wait_s=1.0))
        if outcome:
            raise outcome[0]
        self.on_poll()

    def _hear(self, latest: tuple[int, dict[str, Any]]) -> None:
        count, about = latest
        if count > self._count:
            self._count, self._working = count, not about.get("starting")
            self.on_beat(about)

    def _stop(self, ended: threading.Event) -> None:
        self.heartbeat.request_stop()
        count, about = self.heartbeat.latest(wait_s=1.0)
        if not (self._working or (count > self._count and not about.get("starting"))):
            return
        # Listeners are not called meanwhile: the interrupt may have come from one, and would come again.
        ended.wait(self.grace_s)
        with contextlib.suppress(BaseException):
            self._hear(self.heartbeat.latest(wait_s=1.0))


def _call(work: Callable[[], object], outcome: list[BaseException], ended: threading.Event) -> None:
    try:
        work()
    except BaseException as error:
        outcome.append(error)
    finally:
        ended.set()
