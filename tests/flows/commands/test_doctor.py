"""`ddpm doctor` as a user calls it: lines, JSON, exit codes, and nothing left behind."""

import json
from pathlib import Path

import pytest

from flows.cli import run_command


def test_lines_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--root", str(tmp_path / "runs"), "--only", "root", "--only", "limits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["limits", "root"]
    assert lines[-1].startswith("nothing wrong, ")
    assert list(tmp_path.iterdir()) == []


def test_the_exit_code_is_that_of_the_first_wrong_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    arguments = ["doctor", "--root", str(tmp_path / "file"), "--only", "root", "--only", "cluster"]
    assert run_command(arguments) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("WRONG    root       root ")
    assert lines[-1] == "2 wrong, 0 warnings, 0 ok"
    assert run_command([*arguments[:3], "--only", "cluster", "--json"]) == 7
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == 7
    assert [(one["check"], one["level"]) for one in answer["findings"]] == [("cluster", "wrong")]


def test_an_unknown_check_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--only", "everything"]) == 2
    assert "--only everything: is not a check - choose from python, packages" in capsys.readouterr().err


@pytest.mark.slow
def test_all_checks_within_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--root", str(tmp_path / "runs"), "--json"]) == 0
    assert len({one["check"] for one in json.loads(capsys.readouterr().out)["findings"]}) == 17
