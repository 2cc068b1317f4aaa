"""Units on actors: every one is run, errors arrive as they are, a unit that kills its worker is found out."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flows.artifacts import Snapshot
from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from flows.stages.sample.sampling import sample
from flows.stages.train.training import train
from infra.compute.cluster import Cluster
from infra.compute.units import Workers, _RoomWatch
from infra.errors import InputError, ResourceError
from infra.storage.open import open_store


@dataclass(frozen=True)
class Marks:
    """Leaves a file for each time a unit is begun."""

    folder: str
    fails: int = -1
    kills: int = -1
    kills_once: int = -1

    def open(self) -> Callable[[int], None]:
        def run(unit: int) -> None:
            begun = len(list(Path(self.folder).glob(f"{unit}-*")))
            (Path(self.folder) / f"{unit}-{begun}").touch()
            if unit == self.fails:
                raise InputError("is bad", item="x.png", stage="prepare", remedy="mend it")
            if unit == self.kills or (unit == self.kills_once and begun == 0):
                os.kill(os.getpid(), signal.SIGKILL)

        return run


def run(cluster: Cluster, task: Marks, units: list[int], workers: int = 2) -> list[int]:
    done: list[int] = []
    cluster.run_units(task, units, workers=Workers(count=workers), stage="prepare", on_done=done.append)
    return sorted(done)


def test_every_unit_is_run_and_told(ray_cluster: Cluster, tmp_path: Path) -> None:
    from ray.data import DataContext

    before, _ = ray_cluster.occupancy.seconds()
    assert run(ray_cluster, Marks(str(tmp_path)), [3, 1, 4, 5, 9]) == [1, 3, 4, 5, 9]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-0", "3-0", "4-0", "5-0", "9-0"]
    assert ray_cluster.occupancy.seconds()[0] > before
    context = DataContext.get_current()
    assert context.enable_progress_bars, "the caller's own settings of Ray Data stay"
    assert not context.custom_execution_callback_classes


def test_our_errors_arrive_whole(ray_cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(ray_cluster, Marks(str(tmp_path), fails=2), [1, 2, 3])
    assert str(caught.value) == "prepare: x.png: is bad - mend it"
    assert caught.value.exit_code == 3
    assert len(list(tmp_path.glob("2-*"))) == 1, "a bad image was tried again"


@pytest.mark.slow
def test_a_lost_worker_costs_its_unit_another_try(ray_cluster: Cluster, tmp_path: Path) -> None:
    before = ray_cluster.occupancy.retries
    assert run(ray_cluster, Marks(str(tmp_path), kills_once=2), [1, 2, 3]) == [1, 2, 3]
    assert ray_cluster.occupancy.retries > before


def test_a_unit_that_kills_its_worker_is_named(ray_cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="unit 2: ended its worker 3 times"):
        run(ray_cluster, Marks(str(tmp_path), kills=2), [1, 2, 3], workers=1)
    assert len(list(tmp_path.glob("2-*"))) == 3
    assert run(ray_cluster, Marks(str(tmp_path)), [2], workers=1) == [2], "each pool counts anew"


class TestRoomWatch:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Its last entry is the time."""
        times = [0.0]
        monkeypatch.setattr("infra.compute.units.time.monotonic", lambda: times[-1])
        return times

    def turn(self, watch: _RoomWatch, clock: list[float], until: float) -> None:
        while clock[-1] < until:
            clock.append(clock[-1] + 0.5)
            watch.on_execution_step(None)

    def test_no_room_for_too_long(self, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        room = [1]
        monkeypatch.setattr("infra.compute.units.fitting", lambda _: room[0])
        watch = _RoomWatch(Workers(), "prepare", 100)
        self.turn(watch, clock, 300)
        room[0] = 0
        self.turn(watch, clock, 390)
        with pytest.raises(
            ResourceError, match=r"prepare: the cluster has no room for 1 workers \(for 100 s\)"
        ) as caught:
            self.turn(watch, clock, 410)
        assert caught.value.exit_code == 7

    def test_a_node_that_comes_back_in_time(self, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("infra.compute.units.fitting", lambda _: int(clock[-1] % 100 > 90))
        self.turn(_RoomWatch(Workers(), "prepare", 100), clock, 1000)


@pytest.mark.slow
def test_more_workers_than_the_cluster_has_are_as_many_as_fit(ray_cluster: Cluster, tmp_path: Path) -> None:
    assert sorted(run(ray_cluster, Marks(str(tmp_path)), list(range(30)), workers=30)) == list(range(30))


def test_a_worker_larger_than_the_cluster(ray_cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"1 workers of 500 CPU each do not fit .* set fewer workers"):
        ray_cluster.run_units(
            Marks(str(tmp_path)), [1], workers=Workers(cpus=500), stage="test", on_done=lambda _: None
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_do_not_depend_on_the_workers(
    ray_cluster: Cluster, tiny: PipelineConfig, make_context: Callable[..., Context], workers: int
) -> None:
    alone = make_context()
    dataset = prepare(tiny.prepare, alone)
    short = tiny.train.model_copy(update={"images": 64, "watch_share": 0.0})
    snapshot: Snapshot = train(short, dataset, alone)
    expected = sample(tiny.sample, snapshot, alone)
    again = replace(alone, cluster=ray_cluster, store=open_store(alone.store.uri), force=True)
    found = sample(tiny.sample.model_copy(update={"workers": workers}), snapshot, again)
    assert not found.reused
    assert found.name != expected.name
    assert found.digest == expected.digest
