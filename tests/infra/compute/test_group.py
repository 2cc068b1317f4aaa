"""Functions on groups of workers: two train on what one would, errors arrive whole, a lost worker is replaced."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import ControllerError
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from flows.recipe.config import PipelineConfig
from flows.stage import Context, Progress
from flows.stages.prepare.preparation import prepare
from flows.stages.train.assignment import Assignment
from flows.stages.train.config import TrainConfig
from flows.stages.train.training import train
from flows.stages.train.worker import TrainingWorker, run_training
from infra.compute.cluster import Cluster
from infra.compute.group import GroupFunction, _remove, _torch_config, fit_group
from infra.compute.heartbeat import Beat, LocalHeartbeat, Pulse, Watch
from infra.compute.units import Workers
from infra.errors import DivergedError, ResourceError
from infra.outputs.plan import Output, Plan
from infra.storage import s3
from infra.storage.s3_store import S3Store
from tests.flows.stages.train.bench import kept
from tests.flows.stages.train.test_batches import await_true


@pytest.fixture
def config(tiny: PipelineConfig) -> TrainConfig:
    """The tiny training, not watched."""
    return tiny.train.model_copy(update={"watch_share": 0.0, "device": "cpu"})


def diverge(config: dict[str, Any], _: Beat) -> None:
    Path(config["folder"], str(os.getpid())).touch()
    raise DivergedError("went wrong", stage="train", item="step 3")


def train_and_note(config: dict[str, Any], beat: Beat) -> None:
    """Train as the stage does; leave the step that each rank left at."""
    rank = torch.distributed.get_rank()
    with Pulse(beat if rank == 0 else None, every_s=0.2) as pulse:
        worker = TrainingWorker(Assignment.from_json(config["assignment"]), pulse)
        worker.run()
    Path(config["folder"], str(rank)).write_text(str(worker.state.images_seen))


def train_and_say_where(config: dict[str, Any], beat: Beat) -> None:
    """Train as the stage does; leave the process of each rank."""
    Path(config["folder"], str(torch.distributed.get_rank())).write_text(str(os.getpid()))
    run_training(config["assignment"], beat)


def fail_on_one_rank(config: dict[str, Any], _: Beat) -> None:
    """The second rank fails while the first waits for it in an exchange."""
    Path(config["folder"], str(os.getpid())).touch()
    if torch.distributed.get_rank() == 1:
        raise DivergedError("went wrong", stage="train", item="rank 1")
    torch.distributed.all_reduce(torch.zeros(1))


def run(
    cluster: Cluster,
    function: GroupFunction,
    folder: Path,
    runs: Path,
    committed: Callable[[], int] = lambda: 0,
    workers: int = 1,
) -> None:
    cluster.run_group(
        function,
        {"folder": str(folder)},
        workers=Workers(count=workers),
        stage="train",
        run_folder=str(runs),
        on_poll=committed,
    )


def test_what_ray_train_left_is_removed_and_nothing_else(tmp_path: Path, moto_store: S3Store) -> None:
    for name in ("runs/ab/x/y", "runs/ab/.marker", "runs/abc/x"):
        moto_store.put_if_absent(name, b"")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    s3.put_if_absent(moto_store.bucket, f"{moto_store.prefix}/runs/ab/", b"")
    for root in (moto_store.uri, str(tmp_path)):
        _remove(f"{root}/runs/ab")
        _remove(f"{root}/runs/none")
    _remove("s3://no-such-bucket/runs")
    below = f"{moto_store.prefix}/"
    assert [found.key for found in s3.list_objects(moto_store.bucket, below, markers=True)] == [f"{below}runs/abc/x"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["abc"]


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (WorkerGroupStartupTimeoutError(2), "has no room for 2 workers"),
        (RuntimeError("NCCL error\nmore"), r"Ray Train failed \(RuntimeError: NCCL error\) - run again"),
    ],
)
def test_what_ray_train_says_of_itself(monkeypatch: pytest.MonkeyPatch, failure: Exception, says: str) -> None:
    def fail(*_: object) -> None:
        raise ControllerError(failure)

    monkeypatch.setattr("infra.compute.group._fit_once", fail)
    monkeypatch.setattr("infra.compute.group._placement_groups", set)
    watch = Watch(heartbeat=LocalHeartbeat(), on_poll=lambda: 0)
    with pytest.raises(ResourceError, match=says) as caught:
        fit_group(diverge, {}, Workers(count=2), "train", "/runs", watch, 600)
    assert caught.value.exit_code == 7


def test_our_errors_arrive_whole_and_are_not_tried_again(ray_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    with pytest.raises(DivergedError) as caught:
        run(ray_cluster, diverge, tmp_path / "seen", tmp_path / "runs")
    assert str(caught.value) == "train: step 3: went wrong"
    assert len(list((tmp_path / "seen").iterdir())) == 1


@pytest.mark.slow
def test_a_rank_that_fails_ends_those_that_wait_for_it(ray_cluster: Cluster, tmp_path: Path) -> None:
    """The exchange itself would wait for half an hour; the error is that of the rank that failed."""
    (tmp_path / "seen").mkdir()
    began = time.monotonic()
    with pytest.raises(DivergedError, match="rank 1: went wrong"):
        run(ray_cluster, fail_on_one_rank, tmp_path / "seen", tmp_path / "runs", workers=2)
    assert time.monotonic() - began < 90
    pids = [int(path.name) for path in (tmp_path / "seen").iterdir()]
    assert len(pids) == 2, "it is not tried again"
    await_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize("backend", [None, object])
def test_a_ray_without_the_backend_trains_without_notice(monkeypatch: pytest.MonkeyPatch, backend: object) -> None:
    monkeypatch.setattr(TorchConfig, "backend_cls", backend)
    assert type(_torch_config("gloo")) is TorchConfig


def test_two_workers_consume_what_one_does(
    ray_cluster: Cluster, tiny: PipelineConfig, config: TrainConfig, make_context: Callable[..., Context]
) -> None:
    """Losses of the same samples, timesteps and noise differ by the order of summation alone."""
    alone = make_context()
    dataset = prepare(tiny.prepare, alone)
    one = train(config, dataset, alone).manifest(alone.store).facts["history"]
    together = replace(alone, cluster=ray_cluster, force=True)
    two = train(config.model_copy(update={"workers": 2}), dataset, together).manifest(alone.store)
    assert two.folder.endswith(".1")
    assert [row["images_seen"] for row in two.facts["history"]] == [row["images_seen"] for row in one]
    assert [row["loss"] for row in two.facts["history"]] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    other = train(config.model_copy(update={"seed": 1}), dataset, alone).manifest(alone.store).facts["history"]
    assert [row["loss"] for row in other] != pytest.approx([row["loss"] for row in one], rel=1e-3)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_training_keeps_its_last_step(
    ray_cluster: Cluster, tiny: PipelineConfig, config: TrainConfig, make_context: Callable[..., Context]
) -> None:
    """Ctrl-C reaches the driver while it waits; the same command goes on to the bytes of an undisturbed run."""
    heard: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        heard.append(progress)
        if progress.done and timer.ident is None:
            timer.start()

    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

    alone = make_context()
    dataset = prepare(tiny.prepare, alone)
    endless = config.model_copy(update={"images": 1 << 30, "checkpoint_images": 1 << 30})
    with pytest.raises(KeyboardInterrupt):
        train(endless, dataset, replace(alone, cluster=ray_cluster, on_progress=interrupt))
    assert [(heard[0].done, heard[0].phase), heard[1].phase] == [(0, "starting Ray"), "loading the data"]
    (folder,) = (Path(alone.store.uri) / "train").iterdir()
    (checkpoint,) = folder.glob("checkpoints/*.json")
    images = int(checkpoint.stem)
    assert images == heard[-1].done == heard[-1].kept > 0
    assert not list(folder.glob("manifests/*"))
    assert not list(folder.glob("snapshots/*"))
    goal = endless.model_copy(update={"images": images + 2 * config.batch_size})
    resumed: list[Progress] = []
    digest = train(goal, dataset, replace(alone, on_progress=resumed.append)).digest
    assert (resumed[0].done, resumed[0].start) == (images, images), "said before anything starts"
    assert digest == train(goal, dataset, replace(alone, force=True)).digest


@pytest.mark.slow
def test_two_workers_stop_at_the_same_step(
    ray_cluster: Cluster,
    tiny: PipelineConfig,
    config: TrainConfig,
    make_context: Callable[..., Context],
    tmp_path: Path,
) -> None:
    def interrupt(beat: dict[str, Any]) -> None:
        if beat.get("images_seen"):
            raise KeyboardInterrupt

    context = make_context()
    dataset = prepare(tiny.prepare, context)
    plan = Plan(stage="train", format_version=1, settings={}, inputs={})
    endless = config.model_copy(update={"images": 1 << 30, "checkpoint_images": 1 << 30})
    assignment = Assignment(config=endless, dataset=dataset, output=Output(store=context.store, plan=plan))
    with pytest.raises(KeyboardInterrupt):
        ray_cluster.run_group(
            train_and_note,
            {"assignment": assignment.as_json(), "folder": str(tmp_path)},
            workers=Workers(count=2),
            stage="train",
            run_folder=str(tmp_path / "runs"),
            on_poll=lambda: 0,
            on_beat=interrupt,
        )
    left = [int((tmp_path / rank).read_text()) for rank in ("0", "1")]
    assert left[0] == left[1] > 0
    assert kept(Output(store=context.store, plan=plan), "checkpoints") == left[:1]


@pytest.mark.slow
def test_a_worker_whose_machine_goes_saves_and_the_group_starts_again(
    ray_cluster: Cluster,
    tiny: PipelineConfig,
    config: TrainConfig,
    make_context: Callable[..., Context],
    tmp_path: Path,
) -> None:
    """SIGTERM reaches the second worker alone; both leave at the same step, and nothing of it is lost."""
    beats: list[dict[str, Any]] = []

    def signal_once(beat: dict[str, Any]) -> None:
        first = not any(earlier.get("images_seen") for earlier in beats)
        beats.append(beat)
        if beat.get("images_seen") and first:
            os.kill(int((tmp_path / "1").read_text()), signal.SIGTERM)
        if beat.get("resumed_at"):
            raise KeyboardInterrupt

    context = make_context()
    dataset = prepare(tiny.prepare, context)
    output = Output(store=context.store, plan=Plan(stage="train", format_version=1, settings={}, inputs={}))
    seldom = config.model_copy(update={"images": 1 << 30, "checkpoint_images": 1 << 30})
    assignment = Assignment(config=seldom, dataset=dataset, output=output)
    with pytest.raises(KeyboardInterrupt):
        ray_cluster.run_group(
            train_and_say_where,
            {"assignment": assignment.as_json(), "folder": str(tmp_path)},
            workers=Workers(count=2),
            stage="train",
            run_folder=str(tmp_path / "runs"),
            on_poll=lambda: len(kept(output, "checkpoints")),
            on_beat=signal_once,
        )
    (resumed,) = {beat["resumed_at"] for beat in beats if beat.get("resumed_at")}
    assert resumed == kept(output, "checkpoints")[0]
    assert resumed >= max(beat["images_seen"] for beat in beats if beat.get("resumed_at") == 0)
