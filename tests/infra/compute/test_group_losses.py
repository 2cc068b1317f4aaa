"""Groups that lose workers: a dead or hanging one is replaced, and losses are counted."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import CHECKPOINTS, SNAPSHOTS
from flows.stages.train.worker import TrainingWorker
from infra.compute.cluster import Cluster
from infra.compute.group import _placement_groups
from infra.compute.heartbeat import Beat, Pulse
from infra.compute.units import ATTEMPTS_PER_UNIT, Workers
from infra.errors import ResourceError
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store
from tests.flows.stages.train.bench import snapshot
from tests.flows.stages.train.faulty import Faulty
from tests.flows.stages.train.test_batches import await_true
from tests.flows.stages.train.test_stop import after_each_step
from tests.infra.compute.test_group import run
from tests.tiny import TINY


def die_once(config: dict[str, Any], _: Beat) -> None:
    first = not list(Path(config["folder"]).iterdir())
    Path(config["folder"], str(os.getpid())).touch()
    if first:
        os.kill(os.getpid(), signal.SIGKILL)


def hang_once(config: dict[str, Any], _: Beat) -> None:
    first = not list(Path(config["folder"]).iterdir())
    Path(config["folder"], str(os.getpid())).touch()
    if first:
        os.kill(os.getpid(), signal.SIGSTOP)


def die_four_times(config: dict[str, Any], _: Beat) -> None:
    begun = len(list(Path(config["folder"]).iterdir()))
    Path(config["folder"], str(os.getpid())).touch()
    if begun < 4:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A moment of rank 0's training of six steps, with a checkpoint after every second, at which a rank is killed.

    Attributes:
        victim: The rank.
        moment: `step`: when the step has ended, and the checkpoint before is kept; `save`: between the numbers and the
            record of the step's checkpoint; `report`: when that checkpoint was reported; `snapshot`: before the
            snapshot of the goal, after the last step.
        step: The step.
        resumed: The steps that the next attempt may go on from.
    """

    victim: str
    moment: str
    step: int
    resumed: Sequence[int]


STEPS = 6
NOBODY = {"moment": "", "place": -1, "victim": ""}
KILLS = {
    "after the first step": Kill(victim="1", moment="step", step=1, resumed=[0]),
    "between saves": Kill(victim="0", moment="step", step=3, resumed=[2]),
    "in a save": Kill(victim="0", moment="save", step=4, resumed=[2]),
    # Rank 0 lives on for a moment and may end its save.
    "in a save of the other": Kill(victim="1", moment="save", step=4, resumed=[2, 4]),
    "right after a report": Kill(victim="0", moment="report", step=2, resumed=[2]),
    "before the snapshot": Kill(victim="0", moment="snapshot", step=STEPS, resumed=[STEPS]),
}


class Killer:
    """Kills a rank, once in all attempts, when rank 0 comes to the moment."""

    def __init__(self, config: dict[str, Any], beat: Beat) -> None:
        self.folder, self.victim, self.place = Path(config["folder"]), config["victim"], config["place"]
        self.beat, self.is_first = beat, dist.get_rank() == 0
        self.waits_for = config["moment"] if self.is_first and not (self.folder / "killed").exists() else ""
        (self.folder / str(dist.get_rank())).write_text(str(os.getpid()))

    def come_to(self, moment: str) -> None:
        if moment == self.waits_for:
            self.waits_for = ""
            (self.folder / "killed").touch()
            os.kill(int((self.folder / self.victim).read_text()), signal.SIGKILL)

    def before(self, what: str, name: str) -> None:
        if what == "put" and name.endswith(f"{CHECKPOINTS}/{self.place:012d}.json"):
            self.come_to("save")
        if what == "put" and f"{SNAPSHOTS}/{self.place:012d}." in name:
            self.come_to("snapshot")

    def report(self, about: dict[str, Any]) -> bool:
        stop = self.beat(about)
        if about.get("kept") == self.place:
            self.come_to("report")
        return stop

    def after_step(self, worker: TrainingWorker) -> None:
        seen, every = worker.state.images_seen, worker.config.checkpoint_images
        if seen == self.place and self.waits_for == "step":
            await_true(lambda: worker.checkpoints.kept == seen // every * every)
            self.come_to("step")
        if seen > self.place and self.waits_for == "report":
            await_true(lambda: not self.waits_for)


def train_and_lose_a_rank(config: dict[str, Any], beat: Beat) -> None:
    """Train as the stage does; once, kill a rank at a moment of rank 0's."""
    killer = Killer(config, beat)
    with Pulse(killer.report if killer.is_first else None, every_s=0.2) as pulse:
        worker = TrainingWorker(Assignment.from_json(config["assignment"]), pulse)
        worker.resume()
        (killer.folder / f"started at {worker.resumed_at}").touch()
        output = replace(worker.output, store=Faulty(worker.output.store, killer.before))
        worker.output = worker.checkpoints._output = output
        after_each_step(worker, lambda: killer.after_step(worker))
        worker.run()


@pytest.fixture(scope="module")
def train_by_two(ray_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Kill | None], Path]:
    """Train with two ranks; return the folder of what the test's own function notes, and the snapshot's digest."""
    top = tmp_path_factory.mktemp("kills")
    store = open_store(str(top / "root"))
    store.make()
    config = load_config("digits", None, TINY)
    dataset = prepare(config.prepare, Context(store=store, cluster=Cluster(mode="in-process")))
    step = config.train.batch_size
    values = {"images": STEPS * step, "checkpoint_images": 2 * step, "watch_share": 0.0, "device": "cpu"}
    training = config.train.model_copy(update=values)

    def call(name: str, kill: Kill | None) -> Path:
        folder = top / name
        folder.mkdir()
        output = Output(store=store, plan=Plan(stage="train", format_version=1, settings={"x": name}, inputs={}))
        assignment = Assignment(config=training, dataset=dataset, output=output).as_json()
        about = {"moment": kill.moment, "place": kill.step * step, "victim": kill.victim} if kill else NOBODY
        ray_cluster.run_group(
            train_and_lose_a_rank,
            {"assignment": assignment, "folder": str(folder), **about},
            workers=Workers(count=2),
            stage="train",
            run_folder=str(top / "runs"),
            on_poll=lambda: len(output.records(CHECKPOINTS)),
        )
        assert (folder / "killed").exists() == (kill is not None)
        (folder / "digest").write_text(snapshot(output, STEPS * step))
        return folder

    return call


@pytest.fixture(scope="module")
def undisturbed(train_by_two: Callable[[str, Kill | None], Path]) -> str:
    """The digest of a training in which nobody was killed."""
    return (train_by_two("undisturbed", None) / "digest").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_a_rank_that_is_killed_costs_the_steps_since_the_checkpoint_before(
    train_by_two: Callable[[str, Kill | None], Path], undisturbed: str, tiny: PipelineConfig, name: str
) -> None:
    """By SIGKILL; the group starts again, and goes on to the bytes of one that was left alone."""
    folder, kill = train_by_two(name, KILLS[name]), KILLS[name]
    assert (folder / "digest").read_text() == undisturbed
    started = {int(path.name.split()[-1]) // tiny.train.batch_size for path in folder.glob("started at *")}
    assert started - {0} <= {*kill.resumed}
    assert started & {*kill.resumed}
    assert len(started) == 1 + (kill.resumed != [0])


@pytest.mark.slow
def test_a_lost_worker_is_replaced(ray_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    run(ray_cluster, die_once, tmp_path / "seen", tmp_path / "runs")
    assert len(list((tmp_path / "seen").iterdir())) == 2


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(ray_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a minute of silence, here five seconds; the stopped process is ended too."""
    monkeypatch.setenv("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", "5")
    (tmp_path / "seen").mkdir()
    began = time.monotonic()
    run(ray_cluster, hang_once, tmp_path / "seen", tmp_path / "runs")
    assert time.monotonic() - began < 240
    pids = [int(path.name) for path in (tmp_path / "seen").iterdir()]
    assert len(pids) == 2
    await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.slow
def test_only_losses_without_anything_committed_between_them_count(ray_cluster: Cluster, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    with pytest.raises(ResourceError, match="train: lost its workers"):
        run(ray_cluster, die_four_times, seen, tmp_path / "runs")
    assert len(list(seen.iterdir())) == ATTEMPTS_PER_UNIT == 3
    for path in seen.iterdir():
        path.unlink()
    run(ray_cluster, die_four_times, seen, tmp_path / "runs", lambda: len(list(seen.iterdir())))
    assert len(list(seen.iterdir())) == 5
    assert not _placement_groups(), "what a lost group held is free again"
