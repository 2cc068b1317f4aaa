"""A compiled run: other bits, the same training, and checkpoints like those of any run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.worker import run_training
from infra.errors import ResourceError
from infra.outputs.plan import Output
from infra.outputs.tensors import decode_tensors
from tests.flows.stages.train.bench import STEP, Bench, snapshot

_WORKER = (
    "import json, sys; from flows.stages.train.worker import run_training; "
    "run_training(json.load(sys.stdin), lambda beat: print(beat['phase'], flush=True))"
)


def assignment(bench: Bench, output: Output, config: TrainConfig, images: int) -> Assignment:
    config = config.model_copy(update={"images": images})
    return Assignment(config=config, dataset=bench.dataset, output=output)


def test_without_a_compiler_the_stage_ends_in_one_line(
    bench: Bench, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    work = assignment(bench, bench.output("none"), config.model_copy(update={"compile": True}), STEP)
    with pytest.raises(ResourceError, match=r"needs a C\+\+ compiler"):
        run_training(work.as_json(), lambda _: False)


@pytest.mark.slow
def test_a_compiled_run_trains_alike_and_resumes_bit_for_bit(bench: Bench, config: TrainConfig, tmp_path: Path) -> None:
    """Processes of their own, since tests check the types of the core's arguments, which no compiler follows."""
    config = config.model_copy(update={"dropout": 0.2})
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}

    def train(name: str, config: TrainConfig, *goals: int) -> Output:
        output = bench.output(name)
        for images in goals:
            work = json.dumps(assignment(bench, output, config, images).as_json())
            done = subprocess.run(
                [sys.executable, "-c", _WORKER], input=work, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert ("compiling the network: about a minute" in done.stdout) == config.compile
        return output

    def tensors(output: Output, name: str) -> dict[str, torch.Tensor]:
        record = output.record(name)
        assert record is not None
        return decode_tensors(output.read(record), name)[0]

    compiled = config.model_copy(update={"compile": True})
    straight, resumed = train("straight", compiled, 10 * STEP), train("resumed", compiled, 5 * STEP, 10 * STEP)
    assert snapshot(resumed, 10 * STEP) == snapshot(straight, 10 * STEP)

    without = config.model_copy(update={"dropout": 0.0})
    plain = train("plain", without, 5 * STEP)
    alike = train("alike", without.model_copy(update={"compile": True}), 5 * STEP)
    assert snapshot(plain, 5 * STEP) != snapshot(alike, 5 * STEP), "else nothing was compiled"
    for folder in (SNAPSHOTS, CHECKPOINTS):
        name = f"{folder}/{5 * STEP:012d}"
        ours, theirs = tensors(alike, name), tensors(plain, name)
        assert ours.keys() == theirs.keys()
    for name, weights in tensors(plain, f"{SNAPSHOTS}/{5 * STEP:012d}").items():
        torch.testing.assert_close(
            tensors(alike, f"{SNAPSHOTS}/{5 * STEP:012d}")[name], weights, rtol=1e-2, atol=1e-3, msg=name
        )
