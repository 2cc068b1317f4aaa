"""`ddpm track`: lines and exit codes; what it delivers is in tests/flows/runtime/test_late_tracking.py."""

from pathlib import Path

import pytest

from flows.cli import run_command
from flows.commands import track


def test_it_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["track", "--help"]) == 0
    said = capsys.readouterr().out
    assert "flush" in said
    assert str(track.flush.__doc__)[:40] in " ".join(said.split()), "the line is cut at the terminal's edge"
    assert run_command(["track", "empty"]) == 2


def test_a_root_without_runs_is_an_error_and_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["track", "flush", "--root", str(tmp_path / "none")]) == 3
    assert "holds no finished run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
