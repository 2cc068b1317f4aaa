"""A Prefect server that ends with the process that started it, however that ends.

Called as `python -m infra.services.prefect.server PORT PARENT_PID [HOST]`, and as `... server prepare` when the
environment is made.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from infra.services.prefect.turns import take_turns
from infra.storage.aside import replaced

_POLL_S = 0.5
DATABASE = "prefect.db"
# Every answer carries the mark that the starter gave, so that no other server on the port is taken for this one.
IDENTITY_HEADER = "x-ddpm-server"
IDENTITY_VARIABLE = "DDPM_PREFECT_SERVER"
_BUSY, _ANSWERS = 503, 6
_HOST_PLACE = 3
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def give_database(folder: Path) -> None:
    """Copy this environment's empty database into a folder that has none.

    Prefect makes one by some two hundred migrations, 8 s of one processor; the outcome depends on its version alone.
    """
    empty = _empty_database()
    if empty.exists() and not (folder / DATABASE).exists():
        with replaced(folder / DATABASE) as aside:
            shutil.copyfile(empty, aside)


def prepare() -> None:
    """Put an empty database where `give_database` finds it, beside the installed packages."""
    with tempfile.TemporaryDirectory(prefix="ddpm-prefect-") as folder:
        os.environ["PREFECT_HOME"] = folder
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{folder}/{DATABASE}"
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        connection = contextlib.closing(sqlite3.connect(f"{folder}/{DATABASE}"))
        with replaced(_empty_database()) as aside, connection as database:
            database.execute("VACUUM INTO ?", (str(aside),))


def _empty_database() -> Path:
    version = importlib.metadata.version("prefect")
    return Path(sys.prefix) / "share" / "ddpm-flows" / f"prefect-{version}.db"


def _end_with(parent: int) -> None:
    """Leave at once when this process has been handed to another parent: its own is gone."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)  # nothing reports a new parent; bounded by the parent's life
    os._exit(0)


def _keep_to_one_processor() -> None:
    """Halve the time of a new database: its migrations change threads 70,000 times, cheaply on one processor only."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class PatientApp:
    """Prefect's server, asked again if it answers 503: two writers of its SQLite database refused each other.

    Prefect's own clients ask again by themselves. Its pages do not: a schedule that is saved at such a moment is lost
    without a word.

    Args:
        app: The server, as an ASGI application.
        pause_s: Before the second call; twice as long before each one after that.
    """

    def __init__(self, app: ASGIApp, pause_s: float = 0.1) -> None:
        self._app, self._pause_s = app, pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _whole_body(receive)
        for attempt in range(_ANSWERS):
            if not await self._refused(scope, receive, send, body, last=attempt == _ANSWERS - 1):
                return
            await asyncio.sleep(self._pause_s * 2**attempt)

    async def _refused(self, scope: Scope, receive: Receive, send: Send, body: bytes, *, last: bool) -> bool:
        """Ask once; whether the answer was 503, which is held back unless it is the last one."""
        unread, refused = [body], False

        async def replay() -> Message:
            return {"type": "http.request", "body": unread.pop(), "more_body": False} if unread else await receive()

        async def relay(message: Message) -> None:
            nonlocal refused
            refused = refused or (message.get("status") == _BUSY and not last)
            if not refused:
                await send(message)

        try:
            await self._app(dict(scope), replay, relay)
        except Exception:  # Starlette raises it again after it has answered
            if not refused:
                raise
        return refused


async def _whole_body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def make_app() -> PatientApp:
    """Build the server's application."""
    from prefect.server.api.server import create_app

    take_turns()
    return PatientApp(create_app())


def main() -> None:
    """Serve until a signal comes or the starter has ended."""
    _keep_to_one_processor()
    if sys.argv[1:] == ["prepare"]:
        prepare()
        return
    port, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn

    uvicorn.run(
        "infra.services.prefect.server:make_app",
        factory=True,
        host=sys.argv[_HOST_PLACE] if len(sys.argv) > _HOST_PLACE else "127.0.0.1",
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=2,
        headers=[(IDENTITY_HEADER, os.environ.get(IDENTITY_VARIABLE, ""))],
    )


if __name__ == "__main__":
    main()
