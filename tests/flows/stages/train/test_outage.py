"""Training goes on while the store is away, and waits while its images are, for a bounded time."""

import contextlib
import itertools
import threading
import time
from dataclasses import replace

import pytest
import torch

from ddpm_core.training_order import TwoLevelOrder
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.points import POINTS
from flows.stages.train.retries import Retries
from flows.stages.train.saver import Saver
from infra.compute.heartbeat import GRACE_S
from infra.compute.preemption import PreemptedError
from infra.errors import IntegrityError, ResourceError, StorageError
from infra.outputs.images import DatasetReader
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot
from tests.flows.stages.train.faulty import GOAL, Faulty, expected, worker_with
from tests.flows.stages.train.test_batches import await_true


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"checkpoint_images": STEP, "watch_images": 2 * STEP, "keep_checkpoints": 2})


@pytest.mark.parametrize("error", [StorageError("does not answer"), ResourceError("no space left")])
def test_training_goes_on_while_the_store_is_away(bench: Bench, config: TrainConfig, error: Exception) -> None:
    """It is away from the second checkpoint, with which a point is due, until a step later and for a while."""
    output, away = bench.output("away"), threading.Event()
    steps_while_away: list[int] = []
    tries: list[str] = []

    def refuse(what: str, name: str) -> None:
        if what == "put" and f"{CHECKPOINTS}/{2 * STEP:012d}" in name and len(tries) < 20:
            away.set()
            if steps_while_away:
                tries.append(name)
            raise error

    worker = worker_with(bench, output, config, refuse)
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
        if worker.state.images_seen == 3 * STEP:
            assert away.wait(10)
            steps_while_away.append(worker.state.images_seen)
        return result

    worker.step = stepping
    worker.run()
    assert len(tries) == 20, "the second checkpoint was tried again after the third step"
    assert snapshot(output, GOAL) == expected(bench, config)
    lines = worker.beat()["lines"]
    assert len(lines) == 1, "it is said once"
    assert error.cause in lines[0]
    assert kept(output, CHECKPOINTS) == [5 * STEP, GOAL]
    assert kept(output, POINTS) == [2 * STEP, 4 * STEP]


@pytest.mark.parametrize("wish", ["stop", "notice"])
def test_a_wish_to_go_ends_the_wait_for_a_store_that_is_away(bench: Bench, config: TrainConfig, wish: str) -> None:
    """Both places are taken, so training waits; the last step is tried within the grace, and what is kept is known."""
    output, now = bench.output("stopped"), [0.0]
    config = config.model_copy(update={"watch_images": 10**6})

    def refuse(what: str, name: str) -> None:
        if what == "put" and f"/{CHECKPOINTS}/" in name and int(name.split("/")[-1].split(".")[0]) >= 2 * STEP:
            raise StorageError("does not answer")

    def pause(seconds: float) -> None:
        time.sleep(0.005)
        # The clock goes on only while the last step is saved; until then real time passes.
        now[0] += min(seconds, 0.5) * (worker.state.images_seen == 5 * STEP)

    worker = worker_with(bench, output, config, refuse)
    worker.saver = Saver(clock=lambda: now[0], pause=pause)

    def ask() -> None:
        await_true(lambda: worker.loop.phase == "waiting to save")
        if wish == "stop":
            worker.pulse.stop = True
        else:
            worker.notice.is_given = True

    asking = threading.Thread(target=ask)
    started = worker.step

    def stepping(*arguments: object) -> object:
        result = started(*arguments)
        if worker.state.images_seen == 4 * STEP:
            asking.start()
        return result

    worker.step = stepping
    began = time.monotonic()
    with pytest.raises(StorageError, match="does not answer"):
        worker.run()
    assert time.monotonic() - began < 20
    assert worker.state.images_seen == 5 * STEP, "one step after the wait"
    assert now[0] < GRACE_S
    assert worker.beat()["kept"] == STEP
    assert kept(output, CHECKPOINTS) == [STEP]
    asking.join()


@pytest.mark.parametrize("what", [CHECKPOINTS, POINTS, SNAPSHOTS, "history"])
def test_a_store_that_stays_away_ends_the_run_with_its_error(bench: Bench, config: TrainConfig, what: str) -> None:
    """The last good checkpoint is kept, and the next run goes on from there."""
    output, now = bench.output("away"), [0.0]
    error = StorageError("does not answer")

    def refuse(action: str, name: str) -> None:
        if action == "put" and f"/{what}/" in name and int(name.split("/")[-1].split(".")[0]) >= 3 * STEP:
            raise error

    worker = worker_with(bench, output, config.model_copy(update={"history_images": STEP}), refuse)
    worker.saver = Saver(
        patience_s=60, clock=lambda: now[0], pause=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    with pytest.raises(StorageError) as caught:
        worker.run()
    assert caught.value is error
    assert worker.checkpoints.kept == max(kept(output, CHECKPOINTS))
    again = bench.worker(output, config, GOAL)
    assert again.resumed_at == worker.checkpoints.kept
    again.run()
    assert snapshot(output, GOAL) == expected(bench, config)


def shards(bench: Bench, config: TrainConfig) -> tuple[list[str], int]:
    """The names of the training files in the order of the run, and the images before the second one."""
    manifest = bench.dataset.manifest(bench.store)
    units = DatasetReader(store=bench.store, manifest=manifest).units("train")
    sizes = [unit["rows"] for unit in units]
    images = TwoLevelOrder(config.seed, sizes, config.shuffle_images)(torch.arange(sum(sizes)))
    place_of_slot = torch.bucketize(images, torch.tensor(sizes).cumsum(0), right=True).tolist()
    order = list(dict.fromkeys(place_of_slot))
    return [f"{manifest.folder}/{units[place]['file']}" for place in order], sizes[order[0]]


@pytest.fixture
def windowed(config: TrainConfig) -> TrainConfig:
    """Training that reads one file after the other, and comes by the second."""
    return config.model_copy(
        update={"shuffle_images": 20, "batch_size": 256, "checkpoint_images": 256, "watch_images": 10**6}
    )


@pytest.mark.parametrize("ahead", [0, 2])
def test_training_waits_while_its_images_are_away(
    bench: Bench, windowed: TrainConfig, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr("flows.stages.train.worker.batches_ahead", lambda *_: ahead)
    (_, second, *_), before = shards(bench, windowed)
    tries: list[str] = []

    def refuse(what: str, name: str) -> None:
        if what == "read" and name == second and len(tries) < 5:
            tries.append(name)
            raise StorageError("does not answer")

    output, goal = bench.output("away"), 256 * (before // 256 + 2)
    away = replace(output, store=Faulty(output.store, refuse))
    worker = bench.worker(away, windowed, goal)
    worker.retries = Retries("the data", pause=lambda _: None, clock=itertools.count().__next__)
    worker.run()
    assert len(tries) == 5
    assert snapshot(output, goal) == snapshot(bench.train("undisturbed", windowed, goal), goal)
    (line,) = worker.beat()["lines"]
    assert line.startswith("the data cannot be read (does not answer); training waits")


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("wish", ["stop", "notice"])
def test_a_wish_to_go_is_heard_while_the_images_are_away(
    bench: Bench, windowed: TrainConfig, monkeypatch: pytest.MonkeyPatch, ahead: int, wish: str
) -> None:
    """The last step is saved, and the next run goes on from there."""
    monkeypatch.setattr("flows.stages.train.worker.batches_ahead", lambda *_: ahead)
    (_, second, *_), before = shards(bench, windowed)

    def refuse(what: str, name: str) -> None:
        if what == "read" and name == second:
            if wish == "stop":
                worker.pulse.stop = True
            else:
                worker.notice.is_given = True
            raise StorageError("does not answer")

    output, goal = bench.output("stopped"), 256 * (before // 256 + 2)
    windowed = windowed.model_copy(update={"checkpoint_images": 10**6})
    worker = bench.worker(replace(output, store=Faulty(output.store, refuse)), windowed, goal)
    with contextlib.nullcontext() if wish == "stop" else pytest.raises(PreemptedError):
        worker.run()
    saved = worker.state.images_seen
    assert 0 < saved <= before
    assert kept(output, CHECKPOINTS) == [saved]
    again = bench.worker(output, windowed, goal)
    assert again.resumed_at == saved
    again.run()
    assert snapshot(output, goal) == snapshot(bench.train("undisturbed", windowed, goal), goal)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_file_that_changes_under_the_run_ends_it(
    bench: Bench, windowed: TrainConfig, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """It is swapped for another whole file of the same data; no step takes its images."""
    monkeypatch.setattr("flows.stages.train.worker.batches_ahead", lambda *_: ahead)
    (first, second, *_), before = shards(bench, windowed)
    output, goal = bench.output("swapped"), 256 * (before // 256 + 2)
    worker = bench.worker(output, windowed, goal)
    right = bench.store.read(second)
    batches = worker.data
    asked: list[int] = []

    def data(slots: torch.Tensor) -> object:
        if not asked:
            bench.store.replace(second, bench.store.read(first))
        asked.append(int(slots.max()))
        return batches(slots)

    worker.data = data
    with pytest.raises(IntegrityError, match="differs from its digest") as caught:
        worker.run()
    assert (caught.value.exit_code, caught.value.item) == (6, second)
    assert 0 < worker.state.images_seen <= before < asked[-1] + 1
    assert max(kept(output, CHECKPOINTS)) == worker.state.images_seen
    bench.store.replace(second, right)
    again = bench.worker(output, windowed, goal)
    assert again.resumed_at == worker.state.images_seen
    again.run()
    assert snapshot(output, goal) == snapshot(bench.train("undisturbed", windowed, goal), goal)
