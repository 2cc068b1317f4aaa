"""Exit codes of the command line; settings and inputs are in test_bad_inputs.py."""

import json
import re
from pathlib import Path

import pytest

import flows.commands.run
from ddpm_core.choices import Choice
from flows.cli import Interrupted, run_command
from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import preset
from infra.errors import DdpmError, DivergedError
from infra.tracking.tracker import Tracker
from tests.e2e.processes import settings
from tests.tiny import TINY


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    out = capsys.readouterr().out
    for command in (
        "run",
        "prepare",
        "train",
        "sample",
        "evaluate",
        "verify",
        "report",
        "serve",
        "export",
        "import",
        "selftest",
    ):
        assert f"  {command} " in out


@pytest.mark.parametrize(
    "command",
    ["run", "prepare", "train", "sample", "evaluate", "verify", "report", "serve", "export", "import", "selftest"],
)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run_command([command, "--help"]) == 0
    assert f"ddpm {command}" in capsys.readouterr().out


@pytest.mark.parametrize("stage", PipelineConfig.model_fields)
def test_the_help_of_a_stage_names_its_settings_and_all_options(capsys: pytest.CaptureFixture[str], stage: str) -> None:
    assert run_command([stage, "--help"]) == 0
    shown = capsys.readouterr().out
    out = "".join(shown.split())  # a line may end after the hyphen of a word
    config = type(PipelineConfig.model_fields[stage].default)
    values = getattr(preset("digits"), stage).model_dump(mode="json")  # the preset of a command that names none
    for name, field in config.model_fields.items():
        assert re.search(rf"^  {stage}\.{name}\s", shown, re.MULTILINE)
        assert "".join(f"{field.description}. [digits: {json.dumps(values[name])}]".split()) in out
        if isinstance(field.default, Choice):
            assert all("".join(f"{option}: {option.description}".split()) in out for option in type(field.default))


def test_the_help_of_run_says_where_the_settings_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "`ddpm prepare --help`, `ddpm train --help`, `ddpm sample --help` and `ddpm evaluate --help` list the" in out


def raising(error: BaseException) -> object:
    def load(*_: object, **__: object) -> None:
        raise error

    return load


def test_a_bug_of_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(flows.commands.run, "load_config", raising(ZeroDivisionError("x")))
    assert run_command(["prepare", "digits"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "ZeroDivisionError" in err
    trace = Path(err.split()[-1])
    assert "Traceback" in trace.read_text()
    trace.unlink()


@pytest.mark.parametrize("kind", DdpmError.__subclasses__())
def test_each_kind_of_error_has_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[DdpmError]
) -> None:
    monkeypatch.setattr(
        flows.commands.run, "load_config", raising(kind("is so", item="x", remedy="do y", stage="train"))
    )
    assert run_command(["prepare", "digits"]) == kind.exit_code
    assert capsys.readouterr().err == "ddpm: train: x: is so - do y\n"


def test_codes_are_those_of_the_design() -> None:
    assert sorted(kind.exit_code for kind in DdpmError.__subclasses__()) == [2, 3, 4, 5, 6, 7, 8]
    assert DivergedError.exit_code == 8


@pytest.mark.parametrize("code", [130, 143])
def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int) -> None:
    monkeypatch.setattr(flows.commands.run, "load_config", raising(Interrupted(code)))
    assert run_command(["prepare", "digits"]) == code
    assert capsys.readouterr().err == "ddpm: interrupted; run the same command to resume\n"


def test_an_interrupt_says_what_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt = Interrupted(130)
    interrupt.add_note("train keeps 640 of 1,280 images")
    monkeypatch.setattr(flows.commands.run, "load_config", raising(interrupt))
    assert run_command(["prepare", "digits"]) == 130
    line = "interrupted; train keeps 640 of 1,280 images; run the same command to resume"
    assert capsys.readouterr().err == f"ddpm: {line}\n"


def test_a_real_interrupt_names_what_the_stage_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the stage through the session to the last line."""

    def log_history(*_: object) -> None:
        raise Interrupted(143)

    monkeypatch.setattr(Tracker, "log_history", log_history)
    arguments = ["train", "digits", *settings(*TINY, "train.images=1000000000"), "--in-process", "--no-tracking"]
    assert run_command([*arguments, "--root", str(tmp_path)]) == 143
    kept = max(int(path.stem) for path in tmp_path.glob("train/*/checkpoints/*.json"))
    line = f"interrupted; train keeps {kept:,} of 1,000,000,000 images; run the same command to resume"
    assert capsys.readouterr().err == f"ddpm: {line}\n"


def test_a_name_that_no_folder_may_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["prepare", "digits", "--name", "my run"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ddpm: name: string should match pattern")
    assert err.count("\n") == 1
