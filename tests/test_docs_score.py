"""docs/score.md: its commands run as written, but for Inception's file, and its rules are those of the code."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from flows.cli import run_command
from flows.recipe.settings import load_config
from flows.run_record import RunRecord
from infra.sources.recognition.marks import kind_of_name
from tests.conftest import TinyRun
from tests.flows.scoring.test_score import drawn, saved

PAGE = (Path(__file__).parent.parent / "docs" / "score.md").read_text()
COMMANDS = re.findall(r"^ddpm .*$", PAGE, re.MULTILINE)


def test_the_commands_run_as_written(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunRecord(name="digits-1a2b3c4d", finished=tiny_run.finished).write(tiny_run.store)
    monkeypatch.setenv("DDPM_ROOT", str(tiny_run.root))
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "PATH", drawn(12, 0))
    np.savez(tmp_path / "samples.npz", arr_0=drawn(9, 1))
    assert len(COMMANDS) == 5
    for line in COMMANDS:
        load_config("folder", None, re.findall(r"--set (\S+)", line), together=False)
        words = shlex.split(re.sub(r"--set \S+", "", line))[1:]
        assert run_command([*words, "--in-process"]) == 0, line
        assert capsys.readouterr().out
    assert (tmp_path / "figures.json").stat().st_size > 1000


def test_the_suffixes_are_those_of_the_code() -> None:
    table = PAGE[PAGE.index("| side |") : PAGE.index("## The rules")]
    for suffix in re.findall(r"`(\.\w+)`", table):
        assert kind_of_name(f"x{suffix}"), suffix
