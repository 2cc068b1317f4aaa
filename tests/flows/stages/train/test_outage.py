"""Training goes on while the store is away, for a bounded time."""

import threading
import time

import pytest

from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.points import POINTS
from flows.stages.train.saver import Saver
from infra.compute.heartbeat import GRACE_S
from infra.errors import ResourceError, StorageError
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot
from tests.flows.stages.train.faulty import GOAL, expected, worker_with
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
