"""`ddpm sweep` refuses before anything starts, and ends with the table; its runs are in tests/e2e/test_sweep.py."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.artifacts import figure_text
from flows.cli import run_command
from flows.recipe.identity import run_key, run_name
from flows.recipe.settings import load_config
from flows.run_record import RunRecord
from tests.conftest import TinyRun
from tests.e2e.processes import settings
from tests.tiny import TINY


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ([], ["--grid: is empty - give a setting and its values, as in train.seed=0,1"]),
        (
            ["--grid", "train.learning_rate=-1,0.001,fast"],
            [
                "train.learning_rate: input should be greater than 0; got -1",
                "train.learning_rate: input should be a valid number, unable to parse string as a number; got 'fast'",
            ],
        ),
        (["--grid", "train.sed=0,1"], ["train.sed: no such setting - did you mean seed?"]),
        (["--grid", "train.seed=0,1", "--name", "a b"], ["name: string should match pattern"]),
        (["--grid", "train.seed=0,1", "--seeds", "0"], ["Invalid value for '--seeds'"]),
        (
            ["--grid", "evaluate.flow_steps=50,60", "--grid", "prepare.kind=folder"],
            ["evaluate.flow_steps has no effect: nothing that is chosen uses it", "prepare.source: is not set"],
        ),
    ],
)
def test_refusals_have_a_line_each_and_touch_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: Sequence[str], lines: Sequence[str]
) -> None:
    code = run_command(["sweep", "digits", *options, "--root", str(tmp_path / "root")])
    assert code == (3 if "is not set" in lines[-1] else 2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(lines), said
    for line, words in zip(said, lines, strict=True):
        assert line.startswith(f"ddpm: {words}"), line
    assert not (tmp_path / "root").exists()


@pytest.fixture
def finished(tiny_run: TinyRun) -> TinyRun:
    """The tiny run, and the record of another one with its figures."""
    for values in ((), ("sample.num_steps=4",)):
        config = load_config("digits", None, [*TINY, *values])
        key = run_key(config, tiny_run.dataset.key)
        RunRecord(name=run_name(config, "digits", key), finished=tiny_run.finished).write(tiny_run.store)
    return tiny_run


def test_finished_runs_make_a_table_at_once(finished: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "digits", *settings(*TINY), "--grid", "sample.num_steps=4,5", "--name", "mine"]
    command += ["--by", "bits_per_dim_fixed_large", "--no-tracking", "--root", str(finished.root)]
    assert run_command(command) == 0
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[0] == "sweep mine: 2 combinations, 2 runs"
    assert lines[2] == "2 of them found finished"
    assert lines[3].startswith("sample.num_steps runs bits_per_dim_fixed_large ")
    (figure,) = (one for one in finished.figures.figures if one.name == "bits_per_dim_fixed_large")
    assert [line.split()[:3] for line in lines[4:6]] == [["A", "4", "1"], ["B", "5", "1"]]
    assert all(figure_text(figure) in line for line in lines[4:6])
    assert any(line.endswith("is 0 ± 0, a tie") for line in lines)
    assert lines[-1] == f"page {finished.root}/sweeps/mine/sweep.html"
    assert max(map(len, printed.splitlines()[3:6])) <= 120
    assert (finished.root / "sweeps" / "mine" / "plot.png").stat().st_size > 1000


def test_a_ranking_figure_that_is_not_there(finished: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "digits", *settings(*TINY), "--grid", "sample.num_steps=4,5", "--by", "fid"]
    assert run_command([*command, "--no-tracking", "--root", str(finished.root)]) == 2
    shown = capsys.readouterr()
    assert "best by" in shown.out, "the table is there all the same"
    assert "--by: no such figure: fid - choose one of " in shown.err
    assert shown.err.count("\n") == 1
