"""`ddpm compare`: a table, CSV and a run in MLflow; one line and an exit code if a run is not there."""

import csv
import shutil
from io import StringIO
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.cli import run_command
from flows.run_record import RunRecord
from tests.conftest import TinyRun
from tests.flows.conftest import NAME

OTHER = "other-5e6f7a8b"


@pytest.fixture
def root(finished: TinyRun, _database: Path) -> Path:
    """The root of two finished runs, which share every output, and an MLflow that opens at once."""
    RunRecord(name=OTHER, finished=finished.finished).write(finished.store)
    shutil.copy(_database, finished.root)
    return finished.root


def test_the_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "1a2b3c4d", OTHER, "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[:2] == [f"A {NAME} (baseline)", f"B {OTHER}"]
    assert any(line.startswith("Settings: all ") for line in lines)
    row = lines.index(next(line for line in lines if line.startswith("bits_per_dim_fixed_large A")))
    assert lines[row + 1].endswith("0 ± 0 equal")
    assert max(map(len, printed.splitlines())) <= 120
    assert "\x1b" not in printed


def test_csv(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", NAME, OTHER, "--root", str(root), "--csv", "-"]) == 0
    text = capsys.readouterr().out
    rows = list(csv.DictReader(StringIO(text)))
    assert [row["run"] for row in rows[:2]] == [NAME, OTHER]
    file = tmp_path / "runs.csv"
    assert run_command(["compare", NAME, OTHER, "--root", str(root), "--csv", str(file)]) == 0
    assert file.read_text() == text
    assert f"{file}  {len(rows)} rows" in capsys.readouterr().out


def test_the_baseline_and_other_roots(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for runs in ([NAME, OTHER], [NAME]):
        assert run_command(["compare", *runs, "--baseline", OTHER, "--root", str(root)]) == 0
        assert capsys.readouterr().out.startswith(f"A  {OTHER} (baseline)")
    assert run_command(["compare", NAME, f"{copy}:{NAME}", "--root", str(root), "--csv", "-"]) == 0
    rows = list(csv.DictReader(StringIO(capsys.readouterr().out)))
    assert {row["run"] for row in rows} == {f"{root}:{NAME}", f"{copy}:{NAME}"}


def test_mlflow(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # a repetition is the same run
        assert run_command(["compare", NAME, OTHER, "--root", str(root), "--csv", "-", "--mlflow"]) == 0
        sheet = capsys.readouterr().out
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("ddpm")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (f"compare {NAME} {OTHER}", "FINISHED")
    assert run.data.tags["ddpm.stage"] == "compare"
    assert run.data.params == {"run.A": NAME, "run.B": OTHER}
    artifacts = root / "mlartifacts" / run.info.run_id / "artifacts"
    assert (artifacts / "comparison.csv").read_text() == sheet
    page = (artifacts / "comparison.html").read_text()
    assert OTHER in page
    assert "bits_per_dim_fixed_large" in page


def test_an_mlflow_that_is_away_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert run_command(["compare", NAME, OTHER, "--root", str(root), "--mlflow"]) == 4
    shown = capsys.readouterr()
    assert "Figures" in shown.out
    assert "run the same command again" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([NAME, "none"], 3, f"none: no finished run of that name below ROOT - choose one of {NAME}, {OTHER}"),
        ([NAME], 2, "a comparison needs two runs; got 1"),
        ([], 2, "Missing argument"),
        ([NAME, NAME], 2, f"{NAME}: is given twice"),
        ([NAME, OTHER, "--csv", "ROOT/none/x.csv"], 2, "--csv ROOT/none/x.csv: cannot be written"),
    ],
)
def test_refusals(root: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [argument.replace("ROOT", str(root)) for argument in arguments]
    assert run_command(["compare", *given, "--root", str(root)]) == code
    shown = capsys.readouterr().err
    assert words.replace("ROOT", str(root)) in shown
    assert shown.count("\n") == 1
