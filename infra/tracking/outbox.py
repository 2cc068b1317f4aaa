"""Deliveries to a server that may fail: each kind fails alone, waits alone, and is tried again.

A delivery stays in the outbox until it succeeds. After a failure its kind pauses, so that a server that is down does
not cost a timeout per call; other kinds go on. Deliveries must be idempotent: one that failed half-way is sent again.
"""

import logging
import time
from collections.abc import Callable, Set
from typing import Literal, get_args

from infra.tracking.pages import shown, shown_reason

Kind = Literal[
    "connection", "params", "metrics", "inputs", "files", "images", "tags", "status", "model", "registration"
]

logger = logging.getLogger(__name__)


class Outbox:
    """Holds the deliveries that are still to be made.

    Args:
        uri: The server's URI; a password in it appears in no message.
        pause_s: How long a kind pauses after its first failure in a row, in seconds; twice as long after each further.
    """

    def __init__(self, uri: str, pause_s: float) -> None:
        self._uri, self._pause_s = uri, pause_s
        self._pending: dict[tuple[Kind, str], Callable[[], None]] = {}
        self._failures: dict[tuple[Kind, str], int] = {}
        self._pauses: dict[Kind, tuple[float, float]] = {}  # when each ends, and its length
        self._reasons: dict[Kind, str] = {}

    def put(self, kind: Kind, scope: str, call: Callable[[], None]) -> None:
        """Add a delivery. It replaces the pending one of the same kind and scope.

        Args:
            kind: Its kind; deliveries of a kind fail together. Without the connection nothing else is tried.
            scope: The run it belongs to.
            call: Delivers, or raises. It may put further deliveries.
        """
        self._pending[kind, scope] = call
        self._failures.pop((kind, scope), None)

    def drop(self, kind: Kind, scope: str) -> None:
        """Drop a delivery that has become needless."""
        self._pending.pop((kind, scope), None)

    def is_empty(self, scope: str) -> bool:
        """Tell whether everything of a scope was delivered."""
        return all(key[1] != scope for key in self._pending)

    def send(self, scopes: Set[str] | None, *, now: bool = False) -> None:
        """Make the pending deliveries; a failure costs a warning, never an exception.

        Args:
            scopes: The runs whose deliveries are made beside all connections; None for all runs.
            now: Try each kind once even if it pauses.
        """
        refused: set[Kind] = set()
        while (key := self._next(scopes, refused, now)) is not None:
            try:
                self._pending[key]()
            except Exception as error:  # the work goes on, whatever a tracking server does wrong
                self._failures[key] = self._failures.get(key, 0) + 1
                self._fail(key[0], error)
                refused.add(key[0])
                # Files may go to another server than the rest, and a connection has paused itself.
                if key[0] not in ("files", "images", "connection") and _is_away(error):
                    self._pause("connection")
                    return
            else:
                del self._pending[key]
                self._failures.pop(key, None)
                for kind in (key[0], "connection"):
                    self._pauses.pop(kind, None)

    @property
    def complaint(self) -> str:
        """One line that names every kind of which something is undelivered, or nothing."""
        kinds = {kind for kind, _ in self._pending} & self._reasons.keys()
        said = [self._phrase([kind]) for kind in ("connection",) if kind in kinds]
        others = [kind for kind in get_args(Kind) if kind in kinds and kind != "connection"]
        said += [self._phrase(others)] if others else []
        return f"MLflow at {shown(self._uri)} {' and '.join(said)}" if said else ""

    def _next(self, scopes: Set[str] | None, refused: set[Kind], now: bool) -> tuple[Kind, str] | None:
        if not now and self._is_paused("connection"):
            return None
        connections = [key for key in self._pending if key[0] == "connection"]
        # Later connections build on earlier ones. Among the others, one that failed does not hold up a new one.
        candidates = connections[:1] or sorted(
            (key for key in self._pending if scopes is None or key[1] in scopes),
            key=lambda key: self._failures.get(key, 0),
        )
        for kind, place in candidates:
            if kind not in refused and (now or not self._is_paused(kind)):
                return kind, place
        return None

    def _fail(self, kind: Kind, error: Exception) -> None:
        is_new = kind not in self._reasons
        self._reasons[kind] = shown_reason(error, self._uri)
        self._pause(kind)
        if is_new:
            logger.warning(
                "MLflow at %s %s; the work goes on, and what is missing can be delivered later",
                shown(self._uri),
                self._phrase([kind]),
            )

    def _pause(self, kind: Kind) -> None:
        length = 2 * self._pauses[kind][1] if kind in self._pauses else self._pause_s
        self._pauses[kind] = (time.monotonic() + length, length)

    def _is_paused(self, kind: Kind) -> bool:
        return time.monotonic() < self._pauses.get(kind, (0.0, 0.0))[0]

    def _phrase(self, kinds: list[Kind]) -> str:
        if kinds == ["connection"]:
            return f"did not answer ({self._reasons['connection']})"
        return "did not take " + ", ".join(f"{kind} ({self._reasons[kind]})" for kind in kinds)


def _is_away(error: BaseException | None) -> bool:
    """Tell whether no server answers at all, so that further kinds would each wait for a timeout."""
    while error is not None:
        # By name, since MLflow's HTTP client is loaded only together with MLflow.
        if any(kind.__name__ == "ConnectionError" for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False
