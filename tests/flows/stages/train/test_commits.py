"""Checkpoints, points and the snapshot reach the store whole or not at all, whatever the store does meanwhile."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from flows.stages.train.averages import AVERAGES
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.points import POINTS
from flows.stages.train.saver import Saver
from flows.stages.train.worker import TrainingWorker
from infra.compute.heartbeat import GRACE_S, Pulse
from infra.errors import ResourceError, StorageError
from infra.outputs.plan import Output
from infra.storage.store import Store
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot
from tests.flows.stages.train.test_batches import await_true

GOAL = 6 * STEP


class Faulty:
    """A store that asks before each change, which may raise."""

    def __init__(self, store: Store, before: Callable[[str, str], None]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        self._before("put", name)
        return self._store.put_if_absent(name, data)

    def delete(self, name: str) -> None:
        self._before("delete", name)
        self._store.delete(name)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._before("read", name)
        return self._store.read(name, start, length)


class Killed(BaseException):
    """Ends the saver where it is, and with it the run, as a kill of the process does."""


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"checkpoint_images": STEP, "watch_images": 2 * STEP, "keep_checkpoints": 2})


def worker_with(
    bench: Bench, output: Output, config: TrainConfig, before: Callable[[str, str], None]
) -> TrainingWorker:
    """A worker whose commits go through a faulty store, with short pauses; loading the data does not."""
    worker = bench.worker(output, config, GOAL, saver=Saver(pause=lambda _: time.sleep(0.005)))
    faulty = replace(output, store=Faulty(output.store, before))
    worker.output = worker.checkpoints._output = faulty
    return worker


def expected(bench: Bench, config: TrainConfig) -> str:
    return snapshot(bench.train("undisturbed", config, GOAL), GOAL)


def changes(bench: Bench, config: TrainConfig) -> int:
    seen: list[str] = []
    worker_with(bench, bench.output("counted"), config, lambda what, _: what == "read" or seen.append(what)).run()
    return len(seen)


def test_a_kill_at_every_change_of_the_store(bench: Bench, config: TrainConfig) -> None:
    """After each, the store holds whole checkpoints alone; the next run goes on from one, to the same snapshot."""
    expected_digest, count = expected(bench, config), changes(bench, config)
    assert count > 30
    for point in range(count):
        output, left = bench.output(f"killed at {point}"), [point]

        def kill(what: str, _: str, left: list[int] = left) -> None:
            if what == "read":
                return
            if not left[0]:
                raise Killed
            left[0] -= 1

        worker = worker_with(bench, output, config, kill)
        with pytest.raises(Killed):
            worker.run()
        acknowledged = worker.checkpoints.kept
        again = bench.worker(output, config, GOAL)
        assert again.resumed_at >= acknowledged
        again.run()
        assert snapshot(output, GOAL) == expected_digest
        assert kept(output, POINTS) == [2 * STEP, 4 * STEP], "none is passed over"
        for folder in (POINTS, AVERAGES, SNAPSHOTS):
            for name in output.records(folder):
                record = output.record(name)
                assert record is not None
                output.read(record)


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
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
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
    assert [worker.beat()["kept"]] == kept(output, CHECKPOINTS) == [STEP]
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


def test_old_checkpoints_stay_until_a_newer_one_was_read_back(bench: Bench, config: TrainConfig) -> None:
    output, log = bench.output("order"), []
    worker_with(bench, output, config.model_copy(update={"keep_checkpoints": 1}), lambda *what: log.append(what)).run()
    log = [(what, name.split("/")[-1]) for what, name in log if f"/{CHECKPOINTS}/" in name and "tensors" in name]
    deleted = [int(name.split(".")[0]) for what, name in log if what == "delete"]
    assert deleted == [STEP * number for number in range(1, 6)]
    for number, images in enumerate(deleted, start=2):
        newer = f"{STEP * number:012d}."
        before = log[: next(i for i, (w, n) in enumerate(log) if w == "delete" and n.startswith(f"{images:012d}."))]
        assert any(what == "read" and name.startswith(newer) for what, name in before)


def test_a_checkpoint_that_the_disk_damages_is_written_again(
    bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile no older one goes."""
    output, damaged = bench.output("damaged"), []
    older: list[list[int]] = []

    def damage(what: str, name: str) -> None:
        if what == "read" and f"/{CHECKPOINTS}/{4 * STEP:012d}." in name and name.endswith("tensors") and not damaged:
            damaged.append(name)
            bench.path(output, f"{CHECKPOINTS}/{4 * STEP:012d}").write_bytes(b"")
            older.append([int(n.rsplit("/", 1)[1]) for n in output.records(CHECKPOINTS)])

    worker = worker_with(bench, output, config, damage)
    worker.run()
    assert older == [[2 * STEP, 3 * STEP, 4 * STEP]]
    assert "damaged" in worker.beat()["lines"][0]
    assert kept(output, CHECKPOINTS) == [5 * STEP, GOAL]
    assert bench.worker(output, config, GOAL).resumed_at == GOAL


def test_a_stop_saves_the_last_step_alone(bench: Bench, config: TrainConfig) -> None:
    """Checkpoints that wait behind a slow store are left out: they would take the grace time of the last one."""
    output, pulse, go = bench.output("stopped"), Pulse(), threading.Event()

    def slow(what: str, name: str) -> None:
        if what == "put" and f"/{CHECKPOINTS}/{STEP:012d}" in name:
            go.wait(10)

    worker = worker_with(bench, output, config.model_copy(update={"watch_images": 10**6}), slow)
    worker.pulse = pulse
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
        if worker.state.images_seen == 3 * STEP:
            pulse.stop = True
            threading.Timer(0.2, go.set).start()
        return result

    worker.step = stepping
    worker.run()
    assert kept(output, CHECKPOINTS) == [STEP, 3 * STEP]
    assert worker.beat()["kept"] == 3 * STEP


def test_a_stop_at_a_point_leaves_it_to_the_next_run(bench: Bench, config: TrainConfig) -> None:
    output = bench.output("stopped at a point")
    worker = bench.worker(output, config, GOAL)
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
        worker.pulse.stop = worker.state.images_seen == 4 * STEP
        return result

    worker.step = stepping
    worker.run()
    assert (kept(output, CHECKPOINTS)[-1], kept(output, POINTS)) == (4 * STEP, [2 * STEP])
    bench.worker(output, config, GOAL).run()
    assert kept(output, POINTS) == [2 * STEP, 4 * STEP]
    undisturbed = bench.train("undisturbed", config, GOAL)
    name = f"{POINTS}/{4 * STEP:012d}"
    assert bench.path(output, name).read_bytes() == bench.path(undisturbed, name).read_bytes()


def test_a_clock_that_jumps_changes_nothing(bench: Bench, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day forward and back again at every look."""
    honest, looks = time.time, []
    monkeypatch.setattr(time, "time", lambda: honest() + 86_400 * (len(looks) % 3 - 1) + (looks.append(1) or 0))
    output = bench.output("jumps")
    bench.train_anew(output, config, 3 * STEP, GOAL)
    assert looks
    assert kept(output, CHECKPOINTS) == [3 * STEP, 5 * STEP, GOAL]
    assert [row["images_seen"] for row in history_rows(output)] == [3 * STEP, 5 * STEP, GOAL]
    monkeypatch.undo()
    assert snapshot(output, GOAL) == expected(bench, config)
