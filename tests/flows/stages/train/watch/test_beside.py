"""Watching beside training: the newest point goes first, a lost worker costs figures alone, and no byte changes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from flows.artifacts import Snapshot
from flows.points import read_points
from flows.stages.train.config import TrainConfig
from flows.stages.train.training import train
from flows.stages.train.watch.beside import BesideWatch
from infra.compute.beside import Answer
from infra.compute.cluster import Cluster
from infra.compute.units import Workers
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store
from tests.conftest import TinyRun


class Worker:
    """A worker in this process: it answers at the next poll, or never, or is lost with its work."""

    def __init__(self, run: Callable[[dict[str, Any]], dict[str, Any]], fate: str = "works") -> None:
        self.run, self.fate = run, fate
        self.taken: list[int] = []
        self.work: dict[str, Any] | None = None
        self.ended, self.room, self.losses = False, True, 0
        self.waits_for_room = False

    @property
    def is_busy(self) -> bool:
        return self.work is not None

    @property
    def is_free(self) -> bool:
        return self.work is None and self.losses < 3

    def fits(self) -> bool:
        return self.room

    def submit(self, work: dict[str, Any]) -> None:
        assert self.is_free
        self.taken.append(work["images_seen"])
        self.work = work

    def poll(self, wait_s: float = 0.0) -> Answer | None:
        work = self.work
        if work is None or self.fate == "hangs":
            time.sleep(wait_s / 10)
            return None
        self.work = None
        if self.fate == "dies":
            self.losses += 1
            return Answer(work=work, result=None, error="its worker was lost (killed)", again_in_s=0.0)
        if self.fate in ("away", "fails"):
            wait_s = 30.0 if self.fate == "away" else None
            return Answer(work=work, result=None, error=f"the store {self.fate}", again_in_s=wait_s)
        return Answer(work=work, result=self.run(work))

    def end(self) -> None:
        self.ended, self.work = True, None


class Bench:
    """An output with points that the test commits, on a clock of its own."""

    def __init__(self, root: str, fate: str = "works", goal: int = 80) -> None:
        store = open_store(root)
        store.make()
        self.output = Output(store=store, plan=Plan(stage="train", format_version=1, settings={}, inputs={}))
        self.now_s = 0.0
        self.worker = Worker(self.measure, fate)
        self.watch = BesideWatch(self.output, goal, self.worker, 0.05, clock=self.clock)  # type: ignore[arg-type]

    def clock(self) -> float:
        self.now_s += 0.5
        return self.now_s

    def commit(self, folder: str, images_seen: int) -> None:
        self.output.commit(f"{folder}/{images_seen:012d}", "bin", str(images_seen).encode(), {})

    def measure(self, work: dict[str, Any]) -> dict[str, Any]:
        self.commit("watch", work["images_seen"])
        return work


@pytest.fixture
def bench(tmp_path: Any) -> Callable[..., Bench]:
    return lambda *args, **more: Bench(str(tmp_path / "root"), *args, **more)


def test_the_newest_point_goes_first_and_the_rest_follows_at_the_end(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.commit("points", 10)
    one.watch.look()
    one.worker.fate = "hangs"
    for place in (20, 30, 40):
        one.commit("points", place)
        one.watch.look()
    one.worker.fate = "works"
    one.watch.look()
    one.commit("snapshots", 80)
    one.now_s += 200
    one.watch.finish()
    assert one.worker.taken == [10, 40, 80, 30, 20]
    assert one.watch.take_lines() == []
    assert one.worker.ended


def test_points_for_which_no_time_is_left_are_named(bench: Callable[..., Bench]) -> None:
    one = bench("hangs")
    for place in (10, 20, 30):
        one.commit("points", place)
        one.watch.look()
    one.watch.finish()
    assert one.now_s < 15, "ten seconds, at a step of half a second"
    assert one.watch.take_lines() == ["the points at 10, 20, 30 images have no figures: train.watch_share left no time"]


def test_points_of_earlier_attempts_are_measured_and_those_beyond_the_goal_are_not(bench: Callable[..., Bench]) -> None:
    first = bench()
    first.commit("points", 10)
    first.commit("points", 20)
    first.commit("watch", 10)
    again = bench()
    again.commit("points", 90)
    again.watch.look()
    again.watch.finish()
    assert again.worker.taken == [20]


def test_a_hanging_worker_is_waited_for_within_the_bound(bench: Callable[..., Bench]) -> None:
    one = bench("hangs")
    one.commit("snapshots", 80)
    one.watch.finish()
    assert one.now_s < 15, "ten seconds, at a step of half a second"
    assert one.worker.ended
    (line,) = one.watch.take_lines()
    assert line.startswith("the point at 80 images has no figures: train.watch_share left no time")


def test_without_room_any_more_the_worker_ends(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.worker.room = False
    one.commit("points", 10)
    one.watch.look()
    one.watch.finish()
    assert one.worker.taken == []
    assert one.worker.ended


def test_a_point_in_hand_when_room_is_lost_is_measured_when_it_is_back(bench: Callable[..., Bench]) -> None:
    one = bench("hangs")
    one.commit("points", 10)
    one.watch.look()
    one.worker.room = False
    one.commit("points", 20)
    one.watch.look()
    one.worker.room, one.worker.fate = True, "works"
    one.now_s += 200
    one.watch.finish()
    assert one.worker.taken == [10, 20, 10]
    assert one.watch.take_lines() == []


def test_points_without_room_are_named_with_the_reason(bench: Callable[..., Bench]) -> None:
    one = bench("hangs")
    one.commit("points", 10)
    one.watch.look()
    one.worker.room = False
    one.watch.finish()
    assert one.watch.take_lines() == ["the point at 10 images has no figures: the cluster has no room to measure"]


def test_a_lost_worker_costs_no_point(bench: Callable[..., Bench]) -> None:
    one = bench("dies")
    one.commit("points", 10)
    for _ in range(3):
        one.watch.look()
    one.worker.fate = "works"
    one.now_s += 200
    one.watch.finish()
    assert one.worker.taken == [10, 10, 10]
    assert one.watch.take_lines() == []


def test_a_point_waits_while_the_store_is_away(bench: Callable[..., Bench]) -> None:
    """Half a minute later it is tried again; an error that would come again is a line at once."""
    one = bench("away")
    one.commit("points", 10)
    one.watch.look()
    for _ in range(5):
        one.watch.look()
    assert one.worker.taken == [10]
    one.now_s += 30
    one.worker.fate = "fails"
    one.watch.look()
    one.watch.look()
    assert one.worker.taken == [10, 10]
    assert one.watch.take_lines() == ["the point at 10 images has no figures: the store fails"]


@pytest.mark.parametrize(("fate", "why"), [("dies", "its worker was lost (killed)"), ("away", "the store away")])
def test_points_that_are_left_name_what_stood_in_the_way(bench: Callable[..., Bench], fate: str, why: str) -> None:
    one = bench(fate)
    for place in (10, 20):
        one.commit("points", place)
    one.watch.look()
    one.now_s += 1000
    one.watch.finish()
    assert one.watch.take_lines() == [f"the points at 10, 20 images have no figures: {why}"]


def test_a_worker_that_never_found_room_is_named(bench: Callable[..., Bench]) -> None:
    """Others' work holds the cluster: the actor is asked for and never starts."""
    one = bench("hangs")
    one.worker.waits_for_room = True
    one.commit("points", 10)
    one.watch.look()
    one.watch.finish()
    assert one.watch.take_lines() == ["the point at 10 images has no figures: the cluster has no room to measure"]


@pytest.fixture
def config(tiny_run: TinyRun) -> TrainConfig:
    return tiny_run.config.train.model_copy(
        update={"images": 64, "batch_size": 16, "channel_mults": [1], "attention_resolutions": [8], "watch_images": 32}
    )


@pytest.fixture
def trained(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Snapshot, list[str]]]]:
    workers: list[Worker] = []

    def call(config: TrainConfig, fate: str = "") -> tuple[Snapshot, list[str]]:
        def beside(_: Cluster, opening: Any, values: dict[str, Any], *, group: Workers) -> Any:
            assert group.count == 1
            workers.append(Worker(opening(values), fate))
            return workers[-1]

        if fate:
            monkeypatch.setattr(Cluster, "beside", beside)
        lines: list[str] = []
        context = replace(tiny_run.context, say=lines.append, force=True)
        return train(config, tiny_run.dataset, context), lines

    yield call
    assert all(worker.ended for worker in workers), "it ends with the group"


def test_watching_changes_no_byte(
    tiny_run: TinyRun, config: TrainConfig, trained: Callable[..., tuple[Snapshot, list[str]]]
) -> None:
    """Off, in turn, beside and with a dead worker: one digest; the figures of both ways are the same."""
    off, _ = trained(config.model_copy(update={"watch_share": 0.0}))
    turn, turn_lines = trained(config.model_copy(update={"watch_share": 0.5}))
    dead, dead_lines = trained(config, "dies")
    beside, lines = trained(config, "works")
    assert off.digest == turn.digest == dead.digest == beside.digest
    points = [read_points(one.manifest(tiny_run.store).facts) for one in (off, turn, dead, beside)]
    assert [[point.images_seen for point in of_run] for of_run in points] == [[32, 64]] * 4
    measured = [of_run[-1].figures for of_run in points]
    assert measured[0] is measured[2] is None
    assert measured[1] == measured[3] is not None
    assert any("32, 64 images have no figures: its worker was lost" in line for line in dead_lines)
    for said in (turn_lines, lines):
        assert any(line.startswith("    train at 64 images held-out loss") for line in said)
    facts = beside.manifest(tiny_run.store).facts
    assert facts["best"]["images_seen"] in (32, 64)
