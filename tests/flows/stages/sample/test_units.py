"""The predictions that are kept along the chain of the first images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_core.choices import Variance
from ddpm_core.images import to_uint8
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.schedule import respace
from flows.snapshot import decode_snapshot
from flows.stages.sample.units import Progress
from infra.outputs.images import DatasetReader, decode_images
from infra.outputs.manifest import read_verified
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun


@pytest.mark.parametrize(
    ("num_timesteps", "expected"),
    [
        (1000, [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]),
        (10, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (5, [4, 3, 2, 1, 0]),
        (2, [1, 0]),
    ],
)
def test_ten_steps_from_the_first_to_the_last_or_all(num_timesteps: int, expected: list[int]) -> None:
    assert Progress(num_timesteps).timesteps == expected


def test_the_progress_is_the_chains_own(tiny_run: TinyRun) -> None:
    manifest = tiny_run.samples.manifest(tiny_run.store)
    frames, _ = DatasetReader(store=tiny_run.store, manifest=manifest).load("progress")
    drawn, _ = DatasetReader(store=tiny_run.store, manifest=manifest).load("samples")
    assert [unit["facts"].get("timesteps") for unit in manifest.units] == [None, None, None, [4, 3, 2, 1, 0]]
    frames = frames.reshape(8, 5, *frames.shape[1:])
    assert np.array_equal(frames[:, -1], drawn[:8]), "the last step adds no noise: its prediction is the image"

    trained = tiny_run.snapshot.manifest(tiny_run.store)
    network, schedule, *_ = decode_snapshot(read_verified(tiny_run.store, trained.folder, trained.units[0]), "s")
    config, ids, seen = tiny_run.config.sample, torch.arange(8), {}

    def keep(t: int, pred_x_start: torch.Tensor) -> None:
        seen[t] = to_uint8(pred_x_start).numpy().astype(int)

    with torch.inference_mode():
        ddpm_sample(
            network,
            respace(schedule, 5),
            normal(config.seed, Stream.X_T, ids, (1, 8, 8)),
            noise=lambda t: normal(config.seed, Stream.Z_T, ids, (1, 8, 8), step=t),
            variance=Variance(config.variance),
            on_step=keep,
        )
    for place, t in enumerate([4, 3, 2, 1, 0]):
        assert np.abs(frames[:, place] - seen[t]).max() <= 1
    assert np.abs(seen[4] - seen[0]).max() > 20, "else this shows nothing"


_UNIT = """
import json, sys
from flows.stages.sample.config import SampleConfig
from flows.stages.sample.units import SampleTask
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store
work = json.load(sys.stdin)
output = Output(store=open_store(work["root"]), plan=Plan(**work["plan"]))
config = SampleConfig(**work["config"])
SampleTask(output=output, config=config, snapshot_folder=work["folder"], snapshot=work["snapshot"]).open()(0)
"""


@pytest.mark.slow
def test_a_compiled_network_draws_the_same_images_up_to_rounding(tiny_run: TinyRun, tmp_path: Path) -> None:
    """A process of its own, since tests check the types of the core's arguments, which no compiler follows."""
    store, trained = tiny_run.store, tiny_run.snapshot.manifest(tiny_run.store)
    output = Output(store=store, plan=Plan(stage="sample", format_version=1, settings={"case": "compiled"}, inputs={}))
    config = tiny_run.config.sample.model_copy(update={"compile": True, "device": "cpu", "dtype": "float32"})
    work = {
        "root": store.uri,
        "plan": output.plan.as_json(),
        "config": config.model_dump(mode="json"),
        "folder": trained.folder,
        "snapshot": trained.units[0],
    }
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", _UNIT]
    done = subprocess.run(command, input=json.dumps(work), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache" / "ddpm-flows").rglob("*.so")), "else nothing was compiled"
    record = output.record("units/000000")
    assert record is not None
    drawn, _ = decode_images(output.read(record), "units/000000")
    plain, _ = DatasetReader(store=store, manifest=tiny_run.samples.manifest(store)).load("samples")
    assert np.abs(drawn.astype(int) - plain[: len(drawn)].astype(int)).max() <= 2
