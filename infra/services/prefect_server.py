"""A Prefect server that ends with the process that started it, however that ends.

Called as `python -m infra.services.prefect_server PORT PARENT_PID`, and as `... prefect_server prepare` where the
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
import uuid
from pathlib import Path

_POLL_S = 0.5
DATABASE = "prefect.db"
# Every answer carries the mark that the starter gave, so that no other server on the port is taken for this one.
IDENTITY_HEADER = "x-ddpm-server"
IDENTITY_VARIABLE = "DDPM_PREFECT_SERVER"


def give_database(folder: Path) -> None:
    """Copy this environment's empty database into a folder that has none.

    Prefect makes one by some two hundred migrations, 8 s of one processor; the outcome depends on its version alone.
    """
    empty, aside = _empty_database(), folder / f"{DATABASE}-aside"
    if empty.exists() and not (folder / DATABASE).exists():
        shutil.copyfile(empty, aside)
        aside.replace(folder / DATABASE)


def prepare() -> None:
    """Put an empty database where `give_database` finds it, beside the installed packages."""
    with tempfile.TemporaryDirectory(prefix="ddpm-prefect-") as folder:
        os.environ["PREFECT_HOME"] = folder
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{folder}/{DATABASE}"
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        empty = _empty_database()
        empty.parent.mkdir(parents=True, exist_ok=True)
        aside = empty.with_name(f"{empty.name}-{uuid.uuid4().hex}")
        with contextlib.closing(sqlite3.connect(f"{folder}/{DATABASE}")) as database:
            database.execute("VACUUM INTO ?", (str(aside),))
        aside.replace(empty)


def _empty_database() -> Path:
    version = importlib.metadata.version("prefect")
    return Path(sys.prefix) / "share" / "ddpm-flows" / f"prefect-{version}.db"


def _end_with(parent: int) -> None:
    """Leave at once when this process has been handed to another parent: its own is gone."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(0)


def _keep_to_one_processor() -> None:
    """Halve the time of a new database: its migrations change threads 70,000 times, cheaply on one processor only."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """Serve until told to stop or left alone."""
    _keep_to_one_processor()
    if sys.argv[1:] == ["prepare"]:
        prepare()
        return
    port, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=2,
        headers=[(IDENTITY_HEADER, os.environ.get(IDENTITY_VARIABLE, ""))],
    )


if __name__ == "__main__":
    main()
