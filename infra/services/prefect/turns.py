"""The turns of those who write into the SQLite database of our own Prefect server, taken in its event loop.

SQLite has one writer at a time. Prefect leaves the waiting to SQLite, which does it badly in two ways:

* A transaction that began as a reader is refused its first write at once if another one has written meanwhile. The
  triggers of automations drop an event after four such attempts within a second: a run failed, and no automation ever
  saw it.
* A transaction that waits holds the mutex of its connection. If Python's garbage collector frees a cursor of that
  connection meanwhile, the event loop waits too, and with it the transaction that is waited for: for the whole minute
  of SQLite's patience the server answers nobody.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

# A transaction that takes longer may wait for another one, so the next one goes on without its turn.
LIMIT_S = 10.0
_in_turn: ContextVar[bool] = ContextVar("ddpm_in_turn", default=False)


class Turns:
    """Turns to write, in the order of asking; those of a transaction inside another are part of its turn."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and end it afterwards."""
        if _in_turn.get():
            yield
            return
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with contextlib.AsyncExitStack() as stack:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lock.acquire(), self._limit_s)
                stack.callback(lock.release)
            token = _in_turn.set(True)
            try:
                yield
            finally:
                _in_turn.reset(token)


def take_turns() -> None:
    """Let the transactions of Prefect's server in this process take turns."""
    from prefect.server.database import provide_database_interface
    from prefect.server.database.configurations import AioSqliteConfiguration
    from prefect.server.events import triggers

    turns = Turns()
    begun = AioSqliteConfiguration.begin_transaction

    @contextlib.asynccontextmanager
    async def begin(
        self: AioSqliteConfiguration,
        session: Any,  # noqa: ANN401 - a session of SQLAlchemy, which is no dependency of ours
        with_for_update: bool = False,
    ) -> AsyncIterator[Any]:
        async with turns.turn(), begun(self, session, with_for_update) as transaction:
            yield transaction

    @contextlib.asynccontextmanager
    async def to_write(begin_transaction: bool = False) -> AsyncIterator[Any]:
        """Judge an event as a writer from the first statement on; the server's own other writes may come between."""
        database = provide_database_interface()
        async with database.session_context(begin_transaction, with_for_update=begin_transaction) as session:
            yield session

    AioSqliteConfiguration.begin_transaction = begin  # type: ignore[method-assign]  # Prefect has no setting for it
    triggers.automations_session = to_write  # type: ignore[attr-defined]  # the name that the triggers call
