"""The stage commands stop where their name says."""

import re
from pathlib import Path

import pytest

from flows.cli import run_command
from tests.e2e.processes import settings
from tests.tiny import TINY

STAGES = ["prepare", "train", "sample", "evaluate"]


@pytest.mark.parametrize("last", STAGES)
def test_up_to(tmp_path: Path, capsys: pytest.CaptureFixture[str], last: str) -> None:
    code = run_command([last, "digits", *settings(*TINY), "--root", str(tmp_path), "--in-process", "--no-tracking"])
    assert code == 0
    ran = re.findall(r"^ +(\w+) .*; (?:sealed|found)", capsys.readouterr().out.replace("\n", "\n "), re.MULTILINE)
    assert [stage for stage in STAGES if list(tmp_path.glob(f"{stage}/*/manifests/*"))] == STAGES[
        : STAGES.index(last) + 1
    ]
    assert ran


def test_a_config_file_and_settings(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[prepare]\nunit_images = 100\nholdout = 0.5\n")
    arguments = ["prepare", "digits", "--config", str(file), "--set", "prepare.unit_images=1800"]
    assert run_command([*arguments, "--root", str(tmp_path / "root"), "--in-process", "--no-tracking"]) == 0
    assert len(list(tmp_path.glob("root/prepare/*/units/*.parquet"))) == 2


@pytest.mark.parametrize(("options", "name"), [([], "digits-train.images=640"), (["--name", "my-run"], "my-run")])
def test_the_run_is_called_as_the_user_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], name: str
) -> None:
    arguments = ["prepare", "digits", *settings("train.images=640"), "--root", str(tmp_path), *options]
    assert run_command([*arguments, "--in-process", "--no-tracking"]) == 0
    (line,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("      run "))
    assert re.fullmatch(f"{re.escape(name)}-[0-9a-f]{{8}}", line[1])


def test_prepare_asks_nothing_of_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attention at 4x4 does not suit images of 20x20: a matter for training alone."""
    odd = ["digits", "--set", "prepare.image_size=20", "--root", str(tmp_path), "--in-process", "--no-tracking"]
    assert run_command(["prepare", *odd]) == 0
    assert run_command(["train", *odd]) == 2
    assert "attention_resolutions must be among the sizes [20, 10]" in capsys.readouterr().err
    assert run_command(["prepare", *odd, "--set", "train.images=0"]) == 2
    assert "train.images: input should be greater than or equal to 1" in capsys.readouterr().err


def test_a_time_limit_is_prefects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["train", "digits", "--timeout", "1", "--root", str(tmp_path), "--in-process"]) == 2
    assert "--timeout: Prefect keeps the time, and no Prefect runs here - use `ddpm run`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
