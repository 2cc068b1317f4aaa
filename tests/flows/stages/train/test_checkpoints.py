"""Checkpoints of a run: the latest up to a goal, whose bytes are whole."""

from pathlib import Path

import pytest
import torch

from flows.stages.train.checkpoints import Checkpoints, latest_checkpoint
from infra.errors import IntegrityError
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store


@pytest.fixture
def output(tmp_path: Path) -> Output:
    plan = Plan(stage="train", format_version=1, settings={}, inputs={})
    return Output(store=open_store(str(tmp_path)), plan=plan)


def commit(checkpoints: Checkpoints, *images: int) -> None:
    for seen in images:
        checkpoints.commit(seen, {"weights": torch.full((2,), float(seen))}, {"images_seen": seen})


def test_the_driver_sees_the_latest_up_to_the_goal(output: Output) -> None:
    assert latest_checkpoint(output, 100) == 0
    commit(Checkpoints(output, keep=9), 16, 32, 1024)
    assert [latest_checkpoint(output, goal) for goal in (15, 16, 40, 5000)] == [0, 16, 32, 1024]


def test_what_is_kept_is_what_was_loaded_or_committed(output: Output) -> None:
    checkpoints = Checkpoints(output, keep=2)
    assert (checkpoints.latest(100), checkpoints.kept) == ((0, None), 0)
    commit(checkpoints, 16, 32, 48)
    assert checkpoints.kept == 48
    (Path(output.store.uri) / output.folder / output.record("checkpoints/000000000048").file).write_bytes(b"")
    later = Checkpoints(output, keep=2)
    images, saved = later.latest(100)
    assert saved is not None
    assert (images, later.kept, saved[1]) == (32, 32, {"images_seen": 32})
    with pytest.raises(IntegrityError, match="run again"):
        later.load(16)
