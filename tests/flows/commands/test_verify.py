"""`ddpm verify` and `ddpm report` on a finished run."""

import shutil
from pathlib import Path

import pytest

from flows.cli import run_command
from tests.conftest import TinyRun
from tests.e2e.processes import settings
from tests.tiny import TINY


@pytest.fixture
def root(tiny_run: TinyRun) -> Path:
    """The root of a finished run, with its report."""
    place = ("--root", str(tiny_run.root), "--in-process", "--no-tracking")
    assert run_command(["evaluate", "digits", *settings(*TINY), *place]) == 0
    return tiny_run.root


def test_verify_and_report(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command(["verify", str(root)]) == 0
    points = len(list((root / "train").glob("*/manifests/*.json"))) - 1
    assert points > 0, "each is sealed as the goal of a shorter run"
    assert capsys.readouterr().out.count("whole  ") == 9 + points
    assert run_command(["verify", str(root / "sample")]) == 0
    (output,) = (root / "train").iterdir()
    assert run_command(["verify", str(output)]) == 0
    assert capsys.readouterr().out.count("whole  ") == 2 + points

    (page,) = root.glob("reports/*/report.html")
    before = page.read_bytes()
    page.unlink()
    assert run_command(["report", page.parent.name, "--root", str(root)]) == 0
    assert page.read_bytes() == before
    assert capsys.readouterr().out.strip() == str(page)

    (averages, *_), (watch, *_) = (sorted(output.glob(f"{folder}/*.safetensors")) for folder in ("averages", "watch"))
    for file in (averages, watch):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + b"?")
        assert run_command(["verify", str(output)]) == 6
        assert file.name in capsys.readouterr().err
        file.write_bytes(whole)

    manifest, *_ = output.glob("manifests/*.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows":1', b'"rows":2'))
    assert run_command(["verify", str(root)]) == 6
    assert "was changed since it was sealed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "features", "sample/deeper"])
def test_a_root_may_be_called_like_a_stage(root: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(root, tmp_path / "elsewhere" / name)
    assert run_command(["verify", str(tmp_path / "elsewhere" / name)]) == 0
    assert run_command(["verify", str(tmp_path / "elsewhere" / name / "train")]) == 0
