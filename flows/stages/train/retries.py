"""Work that outlasts an outage of the store: the same again, at growing intervals, for a bounded time."""

import time
from collections.abc import Callable
from typing import TypeVar

from flows.stages.train.saver import PATIENCE_S
from infra.errors import StorageError

T = TypeVar("T")

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0
LOOK_S = 0.25


class Retries:
    """Reads what training cannot go on without.

    Args:
        what: Names it in the line for the user, such as "the data".
        patience_s: How long the store may be away.
        clock: Returns seconds from any origin.
        pause: Waits some seconds, at most a quarter of one.

    Attributes:
        trouble: The reason why training waits now; empty if all is well.
        lines: Lines for the run's log.
    """

    def __init__(
        self,
        what: str,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.trouble = ""
        self.lines: list[str] = []
        self._what, self._patience_s, self._clock, self._pause = what, patience_s, clock, pause

    def __call__(self, work: Callable[[], T], until: Callable[[], bool]) -> T | None:
        """Return the result of the work; None if `until` is true while the store is away.

        Raises:
            StorageError: The store's error, if it lasts.
        """
        began_s: float | None = None
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                result = work()
            except StorageError as error:
                now_s = self._clock()
                began_s = now_s if began_s is None else began_s
                if now_s - began_s >= self._patience_s:
                    raise
                self._report(error)
                if not self._wait(delay_s, until):
                    return None
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            else:
                self.trouble = ""
                return result

    def _wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Wait; tell whether `until` was false all the time."""
        end_s = self._clock() + seconds
        while (left_s := end_s - self._clock()) > 0:
            if until():
                return False
            self._pause(min(left_s, LOOK_S))
        return not until()

    def _report(self, error: StorageError) -> None:
        """Report an outage; a line about it comes once, at its start."""
        if not self.trouble:
            self.lines.append(
                f"{self._what} cannot be read ({error.cause}); training waits, and reading is retried for "
                f"{self._patience_s / 60:g} minutes"
            )
        self.trouble = f"reading {self._what} is retried"
