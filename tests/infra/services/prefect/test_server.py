"""The server ends with the process that started it, also when that is killed; its database starts empty.

What its database refuses is asked again.
"""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import prefect
import pytest
from alembic.script import ScriptDirectory
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from infra.services.prefect.server import DATABASE, PatientApp, give_database

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "infra.services.prefect.server", "0", str(os.getpid())])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_killed_parent(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=log, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _alive(child):
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.1)


def test_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's empty database is the one that a server of this version makes by its migrations."""
    program = f"import sys; sys.prefix = {str(tmp_path)!r}; from infra.services.prefect import server; "
    subprocess.run([sys.executable, "-c", program + "server.prepare()"], check=True, timeout=120)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    give_database(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in tables}
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        with pytest.raises(sqlite3.IntegrityError):
            database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    assert {name: count for name, count in rows.items() if count} == {"alembic_version": 1}
    assert len(tables) > 30
    assert revision in _heads()


def test_database_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "nothing here"))
    give_database(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / DATABASE).write_bytes(b"in use")
    give_database(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == b"in use"


class LockedError(Exception):
    """Two writers refused each other."""


def _ask(failures: int, error: type[Exception] = LockedError) -> tuple[httpx.Response, list[bytes]]:
    """Post to an application that fails so often, and answers 503 to `LockedError`, as Prefect's does."""
    app, bodies = FastAPI(), []

    @app.exception_handler(Exception)
    async def refuse(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"why": "database"}, status_code=503 if isinstance(error, LockedError) else 500)

    @app.post("/")
    async def save(request: Request) -> dict[str, str]:
        bodies.append(await request.body())
        if len(bodies) <= failures:
            raise error
        return {"saved": bodies[-1].decode()}

    async def ask() -> httpx.Response:
        # Starlette raises an error again once it has answered; uvicorn logs it.
        transport = httpx.ASGITransport(PatientApp(app, pause_s=0.001), raise_app_exceptions=failures == 2)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/", content=b"a schedule")

    return asyncio.run(ask()), bodies


def test_what_the_database_refused_is_asked_again() -> None:
    answer, bodies = _ask(failures=2)
    assert (answer.status_code, answer.json()) == (200, {"saved": "a schedule"})
    assert bodies == [b"a schedule"] * 3


def test_what_it_refuses_for_long_is_refused() -> None:
    answer, bodies = _ask(failures=100)
    assert (answer.status_code, answer.json()) == (503, {"why": "database"})
    assert len(bodies) == 6


def test_another_failure_is_not_asked_again() -> None:
    answer, bodies = _ask(failures=100, error=ValueError)
    assert answer.status_code == 500
    assert len(bodies) == 1


def _heads() -> list[str]:
    """The migrations that no other follows, of the installed Prefect."""
    script = ScriptDirectory(str(Path(prefect.__file__).parent / "server/database/_migrations"))
    script.version_locations = [str(Path(script.dir) / "versions" / "sqlite")]
    return script.get_heads()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
