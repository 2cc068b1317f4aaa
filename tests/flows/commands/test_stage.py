"""`ddpm stage`: stages one by one from files, each in a process of its own, give what the pipeline gives."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run_command
from flows.recipe.config import PipelineConfig
from flows.stages.table import STAGES
from tests.conftest import TinyRun

SNAPSHOT = {"name": "a", "key": "b", "digest": "c", "images_seen": 1, "num_timesteps": 2}


def write(folder: Path, name: str, spec: Any) -> str:
    file = folder / f"{name}.json"
    file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return str(file)


def test_each_stage_from_a_file(
    tiny_run: TinyRun, tiny: PipelineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"root": str(tmp_path / "fresh"), "mode": "in-process", "tracking": False}
    results: dict[str, Any] = {}
    for stage in STAGES:
        config = getattr(tiny, stage.name, None)
        spec = {"run": run, "inputs": {name: results[name] for name in stage.inputs}}
        if config is not None:
            spec["config"] = config.model_dump(mode="json")
        assert run_command(["stage", stage.name, write(tmp_path, stage.name, spec)]) == 0
        results[stage.name] = json.loads(capsys.readouterr().out.splitlines()[-1])
    whole = {"prepare": tiny_run.dataset, "train": tiny_run.snapshot, "sample": tiny_run.samples}
    assert {name: results[name]["digest"] for name in whole} == {name: one.digest for name, one in whole.items()}
    assert results["evaluate"]["digest"] == tiny_run.figures.digest
    assert (tmp_path / "fresh" / results["report"]["folder"] / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "spec", "line"),
    [
        ("bake", {}, "no such stage: bake - choose one of prepare, train, sample, evaluate, report"),
        ("train", {}, "train needs the results of prepare"),
        ("train", {"inputs": {"prepare": {"name": "x"}}}, "is not a Dataset record"),
        ("prepare", {"config": {"kind": "paper"}}, "kind: input should be"),
        ("prepare", {"run": {"mode": "paper"}}, "mode: input should be"),
        ("prepare", {"prepare": {}}, "must hold run, config and inputs"),
        ("sample", {"inputs": {"train": SNAPSHOT | {"name": 5}}}, "is not a Snapshot record"),
        ("sample", {"inputs": {"train": SNAPSHOT | {"images_seen": "x"}}}, "is not a Snapshot record"),
        ("sample", {"inputs": {"train": []}}, "is not a Snapshot record"),
        ("prepare", [], "must hold run, config and inputs"),
        ("prepare", "{", "is not JSON"),
    ],
)
def test_a_wrong_file_is_one_line(
    name: str, spec: Any, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["stage", name, write(tmp_path, "spec", spec)]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["stage", "train", str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"train_images": 2}, {"class_names": []}, {"digest": "0"}, {"name": "sample"}])
def test_an_input_that_states_something_else_than_was_sealed_is_refused(
    tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    """Counts decide what is computed and are in no key: a wrong one would be sealed for all later runs."""
    if change.get("name"):
        change = {"name": tiny_run.samples.name}
    inputs = {"prepare": asdict(tiny_run.dataset) | change}
    run = {"root": str(tiny_run.root), "mode": "in-process", "tracking": False}
    before = sorted(tiny_run.root.rglob("*"))
    assert run_command(["stage", "train", write(tmp_path, "spec", {"run": run, "inputs": inputs})]) == 6
    assert re.search("differs from what was sealed|another digest than its record", capsys.readouterr().err)
    assert sorted(tiny_run.root.rglob("*")) == before
