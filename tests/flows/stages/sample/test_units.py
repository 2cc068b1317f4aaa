"""The predictions that are kept along the chain of the first images."""

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
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import read_verified
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
