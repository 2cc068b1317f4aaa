"""Checkpoints, points and the snapshot reach the store whole or not at all, whatever the store does meanwhile."""

import threading
import time

import pytest

from flows.stages.train.averages import AVERAGES
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import history_rows
from flows.stages.train.points import POINTS
from infra.compute.heartbeat import Pulse
from tests.flows.stages.train.bench import STEP, Bench, kept, snapshot
from tests.flows.stages.train.faulty import GOAL, Killed, changes, expected, worker_with
from tests.flows.stages.train.test_batches import await_true


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"checkpoint_images": STEP, "watch_images": 2 * STEP, "keep_checkpoints": 2})


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


def test_a_stop_while_a_point_waits_for_room_leaves_it_to_the_next_run(bench: Bench, config: TrainConfig) -> None:
    """Two checkpoints are pending at the third step, where a point is due; the stop's own comes a step later."""
    config = config.model_copy(update={"watch_images": 3 * STEP})
    output, go = bench.output("stopped while it waited"), threading.Event()

    def slow(what: str, name: str) -> None:
        if what == "put" and f"/{CHECKPOINTS}/{STEP:012d}" in name:
            assert go.wait(10)

    worker = worker_with(bench, output, config, slow)

    def ask() -> None:
        await_true(lambda: worker.loop.phase == "waiting to save")
        worker.pulse.stop = True
        await_true(lambda: worker.state.images_seen == 4 * STEP)
        go.set()

    asking = threading.Thread(target=ask)
    step = worker.step

    def stepping(*arguments: object) -> object:
        result = step(*arguments)
        if worker.state.images_seen == 3 * STEP:
            asking.start()
        return result

    worker.step = stepping
    worker.run()
    asking.join()
    assert (kept(output, CHECKPOINTS)[-1], kept(output, POINTS)) == (4 * STEP, [])
    bench.worker(output, config, GOAL).run()
    assert kept(output, POINTS) == [4 * STEP]
    assert snapshot(output, GOAL) == expected(bench, config)


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
