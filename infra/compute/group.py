"""A function on every worker of one torch.distributed group, by Ray Train."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from infra.compute.heartbeat import Beat, Heartbeat, Watch
from infra.compute.occupancy import Occupancy
from infra.compute.preemption import install_notice
from infra.compute.ray_errors import first_line, lost_a_worker
from infra.compute.units import ATTEMPTS_PER_UNIT, Workers, fitting, no_room
from infra.errors import DdpmError, ResourceError
from infra.storage.uri import parse_place

GroupFunction = Callable[[dict[str, Any], Beat], None]
_POLL_S = 0.25
_START_LIMIT_S = 60  # Ray Train's own


def fit_group(
    function: GroupFunction,
    config: dict[str, Any],
    workers: Workers,
    stage: str,
    run_folder: str,
    watch: Watch,
    patience_s: float,
    backend: str = "gloo",
    occupancy: Occupancy | None = None,
) -> None:
    """Run a TorchTrainer. If workers are lost, start a new one under a new name; it resumes from our checkpoints.

    Give up after ATTEMPTS_PER_UNIT losses in a row with nothing kept between them from which a new group goes on.

    Raises:
        ResourceError: If the cluster has had no room for the group for `patience_s`.
    """
    from ray.train import ControllerError, TrainingFailedError

    committed, failures, others = watch.on_poll(), 0, _placement_groups()
    while True:
        try:
            _fit_once(function, config, workers, run_folder, watch, patience_s, backend)
        except TrainingFailedError as error:
            _release(_placement_groups() - others)
            lost, before, committed = lost_a_worker(error), committed, watch.on_poll()
            if isinstance(error, ControllerError) and not lost:
                raise _not_started(error.controller_failure, workers, stage) from error
            failures = 1 if committed > before else failures + 1
            if failures == ATTEMPTS_PER_UNIT or not lost:
                raise
            if occupancy is not None:
                occupancy.retries += 1
        else:
            return
        _await_room(workers, stage, patience_s, watch.on_poll)


def _fit_once(
    function: GroupFunction,
    config: dict[str, Any],
    workers: Workers,
    run_folder: str,
    watch: Watch,
    patience_s: float,
    backend: str,
) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    name = uuid.uuid4().hex
    # Ray itself tries again to start a group that could not start, a minute each time.
    failures = FailureConfig(
        max_failures=0, max_preemption_failures=0, controller_failure_limit=int(patience_s // _START_LIMIT_S)
    )
    trainer = TorchTrainer(
        partial(_call, function, watch.heartbeat),
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker={"CPU": workers.cpus}
        ),
        torch_config=_torch_config(backend),
        run_config=RunConfig(name=name, storage_path=run_folder, failure_config=failures),
    )
    try:
        watch.follow(trainer.fit)
    finally:
        _remove(f"{run_folder}/{name}")


def _call(function: GroupFunction, heartbeat: Heartbeat, config: dict[str, Any]) -> None:
    """Run the function on a worker; Ray Train calls with the config alone."""
    function(config, heartbeat.beat)


def _torch_config(backend: str) -> Any:  # noqa: ANN401 - Ray's
    """Return Ray's config of torch.distributed, which also prepares the main thread of each worker for SIGTERM.

    Ray lets a config name another backend, an interface for developers. If a later Ray has none, a worker that gets
    SIGTERM ends as Ray ends it, and costs the steps since the last checkpoint.
    """
    from ray.train.torch import TorchConfig

    usual: Any = getattr(TorchConfig(), "backend_cls", None)
    if not hasattr(usual, "on_start"):
        return TorchConfig(backend=backend)

    class Backend(usual):  # type: ignore[misc]
        def on_start(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ANN401 - Ray's
            worker_group.execute(install_notice)
            super().on_start(worker_group, backend_config)

    class Config(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return Backend

    return Config(backend=backend)


def _placement_groups() -> set[str]:
    """Return the ids of the placement groups that this driver holds; an id ends with that of the job."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    return {
        name for name, about in placement_group_table().items() if name.endswith(job) and about["state"] != "REMOVED"
    }


def _release(groups: set[str]) -> None:
    """Give room back: if a worker dies while its group starts, Ray Train 2.60 holds the room until the driver ends."""
    import ray
    from ray.util import remove_placement_group
    from ray.util.placement_group import PlacementGroup

    for name in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))


def _not_started(failure: Exception, workers: Workers, stage: str) -> DdpmError:
    """Return the error for a failure of Ray Train itself; its two errors for a group that did not start are private."""
    if type(failure).__name__.startswith("WorkerGroupStartup"):
        return no_room(workers, stage, first_line(failure))
    cause = f"Ray Train failed ({type(failure).__name__}: {first_line(failure)})"
    return ResourceError(cause, stage=stage, remedy="run again: what is finished is kept")


def _await_room(workers: Workers, stage: str, patience_s: float, on_poll: Callable[[], int]) -> None:
    """Wait until lost nodes return or others join."""
    end = time.monotonic() + patience_s
    while fitting(workers) < workers.count:
        if time.monotonic() > end:
            raise no_room(workers, stage, f"for {patience_s:g} s")
        time.sleep(_POLL_S)  # Ray reports no node that joins; bounded by patience_s
        on_poll()


def _remove(folder: str) -> None:
    """Remove Ray Train's files as far as possible; nothing depends on them."""
    place = parse_place(folder)
    if place.scheme == "file":
        shutil.rmtree(place.path, ignore_errors=True)
        return
    from infra.storage import s3

    with contextlib.suppress(DdpmError):
        for found in list(s3.list_objects(place.bucket, f"{place.path}/", markers=True)):
            s3.delete(place.bucket, found.key)
