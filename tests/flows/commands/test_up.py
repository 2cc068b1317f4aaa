"""`ddpm up` before it starts anything: what it refuses, and what it says of servers that are up."""

import os
from pathlib import Path

import pytest

from flows.cli import run_command
from infra.services.standing import Standing, claim


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_no_servers_to_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["up", "--root", str(tmp_path), "--print-env"]) == 2
    assert f"root {tmp_path}: no servers are up - start them with `ddpm up`" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/x")
    assert run_command(["up", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ddpm: folder /proc/x/ddpm-flows/up-")
    assert "cannot be written (No such file or directory) - set XDG_CACHE_HOME" in said


def test_a_second_call_says_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["up", "--root", str(tmp_path)]
    with claim(str(tmp_path)) as claimed:
        claimed.write(Standing(pid=os.getpid()))
        assert run_command(root) == 5
        assert f"another `ddpm up` starts its servers (process {os.getpid()}) - wait" in capsys.readouterr().err
        claimed.write(
            Standing(
                pid=os.getpid(),
                pages={"Prefect": "http://127.0.0.1:4200"},
                variables={"PREFECT_API_URL": "http://127.0.0.1:4200/api", "RAY_AUTH_TOKEN_PATH": "/a b/token"},
                is_ready=True,
            )
        )
        assert run_command(root) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"up already, by process {os.getpid()}\nPrefect   http://127.0.0.1:4200\n")
        assert run_command([*root, "--print-env"]) == 0
        exports = ["export PREFECT_API_URL=http://127.0.0.1:4200/api", "export RAY_AUTH_TOKEN_PATH='/a b/token'"]
        assert capsys.readouterr().out.splitlines() == exports
        assert shown.splitlines()[-2:] == exports


@pytest.mark.parametrize(
    ("arguments", "says"), [(["--mlflow-port", "0"], "--mlflow-port"), (["--limit", "0"], "--limit")]
)
def test_bad_options(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert run_command(["up", *arguments]) == 2
    assert says in capsys.readouterr().err
