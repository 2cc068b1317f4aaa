"""The server ends with the process that started it, also when that is killed; its database starts empty."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import prefect
import pytest
from alembic.script import ScriptDirectory

from infra.services.prefect_server import DATABASE, give_database

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "infra.services.prefect_server", "0", str(os.getpid())])
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
    """What the environment holds ready is what a server of this version makes by its migrations: empty, and whole."""
    program = f"import sys; sys.prefix = {str(tmp_path)!r}; from infra.services import prefect_server as server; "
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
