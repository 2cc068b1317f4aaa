"""Checkpoints of a run: the latest up to a goal, whose bytes are whole."""

from pathlib import Path

import pytest
import torch

from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS, Checkpoints, latest_checkpoint
from infra.errors import IntegrityError, StorageError
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store
from tests.flows.stages.train.bench import kept


@pytest.fixture
def output(tmp_path: Path) -> Output:
    plan = Plan(stage="train", format_version=1, settings={}, inputs={})
    return Output(store=open_store(str(tmp_path)), plan=plan)


def commit(checkpoints: Checkpoints, *images: int) -> None:
    for seen in images:
        checkpoints.commit(seen, {"weights": torch.full((2,), float(seen))}, {"images_seen": seen})


def damage(output: Output, *images: int) -> None:
    for seen in images:
        record = output.record(f"{CHECKPOINTS}/{seen:012d}")
        assert record is not None
        (Path(output.store.uri) / output.folder / record.file).write_bytes(b"")


def test_the_driver_sees_the_latest_up_to_the_goal(output: Output) -> None:
    assert latest_checkpoint(output, 100) == 0
    commit(Checkpoints(output, keep=9), 16, 32, 1024)
    assert [latest_checkpoint(output, goal) for goal in (15, 16, 40, 5000)] == [0, 16, 32, 1024]


def test_what_is_kept_is_what_was_loaded_or_committed(output: Output) -> None:
    checkpoints = Checkpoints(output, keep=2)
    assert (checkpoints.latest(100), checkpoints.kept) == ((0, None), 0)
    commit(checkpoints, 16, 32, 48)
    assert checkpoints.kept == 48
    damage(output, 48)
    later = Checkpoints(output, keep=2)
    images, saved = later.latest(100)
    assert saved is not None
    assert (images, later.kept, saved[1]) == (32, 32, {"images_seen": 32})
    with pytest.raises(IntegrityError, match="run again"):
        later.load(16)


def test_a_shorter_run_keeps_its_own_checkpoints_and_those_of_the_longer_one(output: Output) -> None:
    commit(Checkpoints(output, keep=2), 4800, 5000)
    shorter = Checkpoints(output, keep=2)
    assert shorter.latest(1000) == (0, None)
    seen = []
    for images in (200, 400, 600):
        commit(shorter, images)
        seen.append(kept(output, CHECKPOINTS))
    assert seen == [[200, 4800, 5000], [200, 400, 4800, 5000], [400, 600, 4800, 5000]]
    assert Checkpoints(output, keep=2).latest(1000)[0] == 600
    assert Checkpoints(output, keep=2).latest(9999)[0] == 5000


def test_damaged_ones_take_no_place_and_go_once_a_later_one_was_read_back(output: Output) -> None:
    commit(Checkpoints(output, keep=9), 80, 160, 240)
    damage(output, 160, 240)
    again = Checkpoints(output, keep=2)
    assert again.latest(1000)[0] == 80
    seen = []
    for images in (96, 112, 176, 192, 256):
        commit(again, images)
        seen.append(kept(output, CHECKPOINTS))
    assert seen == [[80, 96, 160, 240], [96, 112, 160, 240], [112, 176, 240], [176, 192, 240], [192, 256]]


def test_a_damaged_one_that_is_written_again_is_whole(output: Output) -> None:
    commit(Checkpoints(output, keep=9), 80, 160)
    damage(output, 160)
    again = Checkpoints(output, keep=1)
    assert again.latest(1000)[0] == 80
    with pytest.raises(StorageError, match="was damaged"):
        commit(again, 160)
    commit(again, 160)
    assert kept(output, CHECKPOINTS) == [160]
    assert Checkpoints(output, keep=1).latest(1000)[0] == 160


def test_one_at_a_sealed_goal_stays(output: Output) -> None:
    checkpoints = Checkpoints(output, keep=1)
    commit(checkpoints, 16)
    output.commit(f"{SNAPSHOTS}/{16:012d}", "safetensors", b"weights", {})
    commit(checkpoints, 32, 48)
    assert kept(output, CHECKPOINTS) == [16, 48]


def test_damage_is_said_with_the_place_that_training_goes_on_from(output: Output) -> None:
    commit(Checkpoints(output, keep=9), 1600, 3200, 4800)
    for damaged, goes_on in (([4800], "goes on from 3,200"), ([3200], "goes on from 1,600"), ([1600], "begins with")):
        damage(output, *damaged)
        checkpoints = Checkpoints(output, keep=9)
        checkpoints.latest(9999)
        places = [4800, 3200, 1600][: len(checkpoints.lines)]
        assert places[-1:] == damaged
        for line, place in zip(checkpoints.lines, places, strict=True):
            assert line.startswith(f"{output.folder}/{CHECKPOINTS}/{place:012d}: differs from its digest; training ")
            assert goes_on in line
    assert Checkpoints(output, keep=9).lines == []
