"""`ddpm score` and `ddpm statistics` from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows.cli import run_command
from tests.flows.scoring.test_score import drawn, saved


def test_a_table_a_file_of_figures_and_a_reference_for_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = saved(tmp_path / "a", drawn(12, 0)), saved(tmp_path / "b", drawn(14, 1))
    where = ["--root", str(tmp_path / "root"), "--in-process"]
    assert run_command(["score", str(a), str(b), *where, "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "fd_pixels" in said
    assert "12 images to 14 reference images" in " ".join(said.split())
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["figures"][0]["name"] == "fd_pixels"
    assert facts["provenance"][0]["extractor"]["name"] == "pixels"
    assert run_command(["statistics", str(b), str(tmp_path / "b.npz"), *where]) == 0
    assert np.load(tmp_path / "b.npz")["sigma"].shape == (192, 192)
    capsys.readouterr()
    assert run_command(["score", str(a), str(tmp_path / "b.npz"), *where]) == 0
    assert "to the statistics of 14 images" in " ".join(capsys.readouterr().out.split())


def test_a_side_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = saved(tmp_path / "a", drawn(12, 0))
    assert run_command(["score", str(a), str(tmp_path / "no"), "--root", str(tmp_path / "root"), "--in-process"]) == 3
    assert "is neither a path nor a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "cause"),
    [("none/x", "there is no folder"), ("a/000.png/x", "there is no folder"), ("a", "it is a folder")],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, cause: str
) -> None:
    a = str(saved(tmp_path / "a", drawn(12, 0)))
    where = ["--root", str(tmp_path / "root"), "--in-process"]
    for words in (["score", a, a, "--json", str(tmp_path / file)], ["statistics", a, str(tmp_path / file)]):
        assert run_command([*words, *where]) == 2
        assert f"cannot be written ({cause}" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
    assert not (tmp_path / "none").exists()


def test_settings_without_effect_and_metrics_left_out_are_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = str(saved(tmp_path / "a", drawn(5, 0)))
    where = ["--root", str(tmp_path / "root"), "--in-process", "--set", "train.images=5"]
    assert run_command(["score", a, a, *where]) == 0
    said = capsys.readouterr().err
    assert "ddpm: train.images has no effect: nothing that is chosen uses it\n" in said
    assert "ddpm: precision_recall is left out: at least 6 reference images" in said
    assert run_command(["statistics", a, str(tmp_path / "a.npz"), *where, "--set", "evaluate.seed=5"]) == 0
    assert "ddpm: evaluate.seed has no effect" in capsys.readouterr().err
