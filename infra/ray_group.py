"""A function on every worker of one torch.distributed group, by Ray Train."""

import contextlib
import shutil
import threading
import uuid
from collections.abc import Callable
from typing import Any

from infra.errors import DdpmError
from infra.ray_errors import lost_a_worker
from infra.ray_units import ATTEMPTS_PER_UNIT, Workers
from infra.uri import parse_place

_POLL_S = 0.25


def fit_group(
    function: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    workers: Workers,
    run_folder: str,
    on_poll: Callable[[], None],
) -> None:
    """Run a TorchTrainer; when it loses workers, another under a new name: our own checkpoints say where it goes on."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    for attempt in range(1, ATTEMPTS_PER_UNIT + 1):
        name = uuid.uuid4().hex
        trainer = TorchTrainer(
            function,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=workers.count, use_gpu=workers.gpus > 0, resources_per_worker={"CPU": workers.cpus}
            ),
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            run_config=RunConfig(
                name=name,
                storage_path=run_folder,
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=ATTEMPTS_PER_UNIT),
            ),
        )
        try:
            _run_in_thread(trainer.fit, on_poll)
        except TrainingFailedError as error:
            if attempt == ATTEMPTS_PER_UNIT or not lost_a_worker(error):
                raise
        else:
            return
        finally:
            _remove(f"{run_folder}/{name}")


def _remove(folder: str) -> None:
    """Remove what Ray Train left, as far as it can be done now: nothing rests on it."""
    place = parse_place(folder)
    if place.scheme == "file":
        shutil.rmtree(place.path, ignore_errors=True)
        return
    from infra import s3

    with contextlib.suppress(DdpmError):
        for found in list(s3.list_objects(place.bucket, f"{place.path}/", markers=True)):
            s3.delete(place.bucket, found.key)


def _run_in_thread(function: Callable[[], object], on_poll: Callable[[], None]) -> None:
    """Call in a thread of its own, and poll in this one, which so stays interruptible."""
    outcome: list[BaseException | None] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=call, name="ray-train-fit", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(timeout=_POLL_S)
        on_poll()
    if outcome[0] is not None:
        raise outcome[0]
