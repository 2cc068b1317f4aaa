"""The measurement of a run's point is that of its sealed snapshot."""

from typing import Any

import pytest
import torch

from flows.snapshot import channels_last, decode_snapshot
from flows.stages.train.assignment import Assignment
from flows.stages.train.watch.measurement import run_to_end
from flows.stages.train.watch.subject import WatchedRun, samples_at
from infra.outputs.manifest import read_verified
from infra.outputs.tensors import decode_tensors
from tests.conftest import TinyRun


def test_it_measures_the_network_of_the_weights(tiny_run: TinyRun) -> None:
    manifest = tiny_run.snapshot.manifest(tiny_run.store)
    output: Any = type("Output", (), {"store": tiny_run.store})()
    run = WatchedRun(
        Assignment(config=tiny_run.config.train, dataset=tiny_run.dataset, output=output), torch.device("cpu")
    )
    data = read_verified(tiny_run.store, manifest.folder, manifest.units[0])
    weights, _ = decode_tensors(data, "snapshot")
    found = run_to_end(run.measure(1280, weights))
    loaded = decode_snapshot(data, "snapshot")
    loaded = loaded._replace(network=channels_last(loaded.network))
    direct = run_to_end(run._measurement.measure(loaded, samples=tiny_run.config.train.watch_samples))
    assert found.figures == direct.figures
    assert found.figures.samples == 32
    assert found.figures.held_out
    other = run_to_end(run.measure(160, {name: value * 0.5 for name, value in weights.items()}))
    assert other.figures.loss != found.figures.loss
    assert other.figures.samples == 0


@pytest.mark.parametrize(("every", "expected"), [(0, [400, 800]), (50, [200, 400, 600, 800]), (300, [800])])
def test_the_distance_is_measured_at_every_fourth_point_and_the_goal(
    tiny_run: TinyRun, every: int, expected: list[int]
) -> None:
    config = tiny_run.config.train.model_copy(update={"images": 800, "batch_size": 10, "watch_images": every})
    places = range(every or 100, 801, every or 100)
    assert sorted(place for place in {*places, 800} if samples_at(config, place)) == expected
    assert samples_at(config.model_copy(update={"watch_samples": 0}), 800) == 0


def test_points_by_time_have_no_distance(tiny_run: TinyRun) -> None:
    """Neither the first ones, which lie nearest to no multiple but 0, nor those beside a fourth point."""
    config = tiny_run.config.train.model_copy(update={"images": 800, "batch_size": 10, "watch_images": 100})
    assert [place for place in range(10, 800, 10) if samples_at(config, place)] == [400]
    odd = config.model_copy(update={"batch_size": 30, "watch_images": 50})
    assert [place for place in range(30, 801, 30) if samples_at(odd, place)] == [210, 420, 600]
