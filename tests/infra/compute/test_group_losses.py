"""Groups that lose workers: a dead or hanging one is replaced, and losses are counted."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.prepare.preparation import prepare
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import CHECKPOINTS
from flows.stages.train.worker import TrainingWorker
from infra.compute.cluster import Cluster
from infra.compute.group import _placement_groups
from infra.compute.heartbeat import Beat, Pulse
from infra.compute.units import ATTEMPTS_PER_UNIT, Workers
from infra.errors import ResourceError
from infra.outputs.plan import Output, Plan
from tests.flows.stages.train.bench import snapshot
from tests.flows.stages.train.faulty import Faulty
from tests.flows.stages.train.test_batches import await_true
from tests.infra.compute.test_group import run


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


def train_and_lose_a_rank(config: dict[str, Any], beat: Beat) -> None:
    """Train as the stage does; once, kill a rank between the second checkpoint's numbers and its record."""
    folder, rank = Path(config["folder"]), dist.get_rank()
    first = not (folder / "killed").exists()
    (folder / str(rank)).write_text(str(os.getpid()))

    def kill(what: str, name: str) -> None:
        if first and what == "put" and name.endswith(f"{CHECKPOINTS}/{config['at']:012d}.json"):
            (folder / "killed").touch()
            os.kill(int((folder / config["victim"]).read_text()), signal.SIGKILL)

    with Pulse(beat if rank == 0 else None, every_s=0.2) as pulse:
        worker = TrainingWorker(Assignment.from_json(config["assignment"]), pulse)
        worker.resume()
        output = replace(worker.output, store=Faulty(worker.output.store, kill))
        worker.output = worker.checkpoints._output = output
        worker.run()


@pytest.mark.slow
def test_a_rank_that_is_killed_in_a_save_costs_the_steps_since_the_checkpoint_before(
    ray_cluster: Cluster, tiny: PipelineConfig, make_context: Callable[..., Context], tmp_path: Path
) -> None:
    """Either of two, by SIGKILL; the group goes on to the bytes of one that was left alone."""
    context, step = make_context(), tiny.train.batch_size
    dataset = prepare(tiny.prepare, context)
    values = {"images": 5 * step, "checkpoint_images": step, "watch_share": 0.0, "device": "cpu"}
    config = tiny.train.model_copy(update=values)
    digests, resumed = {}, {}
    for victim in ("nobody", "0", "1"):
        folder, beats = tmp_path / victim, [0]
        folder.mkdir()
        output = Output(
            store=context.store, plan=Plan(stage="train", format_version=1, settings={"x": victim}, inputs={})
        )
        assignment = Assignment(config=config, dataset=dataset, output=output).as_json()
        ray_cluster.run_group(
            train_and_lose_a_rank,
            {"assignment": assignment, "folder": str(folder), "victim": victim, "at": 2 * step * (victim != "nobody")},
            workers=Workers(count=2),
            stage="train",
            run_folder=str(tmp_path / "runs"),
            on_poll=lambda output=output: len(output.records(CHECKPOINTS)),
            on_beat=lambda beat, beats=beats: beats.append(beat.get("resumed_at", 0)),
        )
        assert (folder / "killed").exists() == (victim != "nobody")
        digests[victim], resumed[victim] = snapshot(output, 5 * step), max(beats)
    assert len(set(digests.values())) == 1
    assert resumed["nobody"] == 0
    # If rank 1 dies, rank 0 lives on for a moment and may end its save.
    assert resumed["0"] == step
    assert resumed["1"] in (step, 2 * step)


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
