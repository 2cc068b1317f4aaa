"""The command line called in this process, and what must hold after it refused something."""

from pathlib import Path

import pytest

from flows.cli import run_command

CONFIG, INPUT, CONFLICT, INTEGRITY = 2, 3, 5, 6


def run(root: Path, *arguments: str) -> int:
    return run_command([*arguments, "--root", str(root), "--in-process", "--no-tracking"])


def assert_one_line(capsys: pytest.CaptureFixture[str], says: str) -> None:
    err = capsys.readouterr().err
    assert err.count("\n") == 1, f"more than one line: {err}"
    assert err.startswith("ddpm: ")
    assert says in err
    assert "Traceback" not in err


def assert_nothing_half_made(root: Path) -> None:
    left = [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else []
    assert not [path for path in left if ".tmp" in path.parts], "an unfinished write was left"
    assert not [path for path in left if "manifests" in path.parts], "something was sealed"
