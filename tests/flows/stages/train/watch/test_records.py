"""A point's figures are committed once, beside the snapshot, and found with it."""

from typing import Any

import pytest
import torch

from flows.points import PointFigures
from flows.stages.train.watch.measurement import Measured
from flows.stages.train.watch.records import (
    commit_measured,
    committed_places,
    losses_by_image,
    measured_places,
    point_at,
    points_up_to,
)
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store


@pytest.fixture
def output(tmp_path: Any) -> Output:
    store = open_store(str(tmp_path / "root"))
    store.make()
    output = Output(store=store, plan=Plan(stage="train", format_version=1, settings={}, inputs={}))
    for folder, place in (("points", 10), ("snapshots", 20), ("points", 30), ("checkpoints", 15)):
        output.commit(f"{folder}/{place:012d}", "bin", f"{folder} {place}".encode(), {})
    return output


def measured(loss: float) -> Measured:
    figures = PointFigures(split="test", images=2, loss=loss)
    return Measured(figures=figures, tensors={"losses": torch.tensor([[loss, loss], [0.0, loss]])})


def test_points_are_those_on_the_way_and_all_goals(output: Output) -> None:
    assert committed_places(output, 30) == [10, 20, 30]
    assert [point.images_seen for point in points_up_to(output, 25)] == [10, 20]
    assert point_at(output, 15) is None


def test_the_second_measurer_loses(output: Output) -> None:
    commit_measured(output, 10, measured(0.5))
    commit_measured(output, 10, measured(0.7))
    assert measured_places(output) == [10]
    first, second = points_up_to(output, 20)
    assert first.figures is not None
    assert (first.figures.loss, second.figures) == (0.5, None)
    assert first.time_ms > 0
    assert len([name for name in output.store.list(f"{output.folder}/watch") if name.endswith("safetensors")]) == 1
    assert {place: losses.tolist() for place, losses in losses_by_image(output, [first, second]).items()} == {
        10: [0.5, 0.25]
    }


def test_a_damaged_file_is_left_out(output: Output) -> None:
    commit_measured(output, 10, measured(0.5))
    commit_measured(output, 20, measured(0.5))
    points = points_up_to(output, 20)
    assert points[0].watch is not None
    output.store.replace(f"{output.folder}/{points[0].watch['file']}", b"x")
    assert list(losses_by_image(output, points)) == [20]
