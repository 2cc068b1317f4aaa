"""Sample: a snapshot to images, by Ray-parallel reverse chains."""

import os

import torch

from flows.artifacts import Checkpoint, Samples
from flows.config import SampleConfig
from flows.context import Context, Progress
from flows.sampling import PROGRESS, STAGE, SampleTask, unit_name
from infra.device import environment, resolve_device, resolve_dtype
from infra.manifest import Manifest
from infra.plan import Output, Plan, current
from infra.ray_units import Workers

FORMAT_VERSION = 4


def sample(config: SampleConfig, checkpoint: Checkpoint, context: Context) -> Samples:
    """Draw `config.count` images and seal them; images drawn for a smaller or larger count are shared.

    Raises:
        DivergedError: If a chain leaves the finite numbers.
    """
    device = resolve_device(config.device)
    resolved = config.model_copy(update={"dtype": resolve_dtype(config.dtype, device), "device": device})
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings(),
        inputs={"snapshot": checkpoint.digest},
    )
    output = current(Output(store=context.store, plan=plan), force=context.force)
    goal = resolved.goals()
    sealed = output.manifest(goal)
    if sealed is None:
        with context.lease(output.folder):
            sealed = output.manifest(goal)  # another run may have sealed it while this one waited
            if sealed is None:
                output.begin(environment(device) | {"dtype": resolved.dtype})
                _run(resolved, checkpoint, output, context)
                return _artifact(_seal(output, resolved, goal), reused=False)
    return _artifact(sealed, reused=True)


def _run(config: SampleConfig, checkpoint: Checkpoint, output: Output, context: Context) -> None:
    trained = checkpoint.manifest(context.store)
    task = SampleTask(output=output, config=config, snapshot_folder=trained.folder, snapshot=trained.units[0])
    units = range(-(-config.count // config.batch_size))
    missing = [unit for unit in units if output.record(unit_name(unit)) is None]
    start = done = config.count - sum(_images(config, unit) for unit in missing)

    def report(phase: str = "") -> None:
        context.on_progress(Progress(done=done, total=config.count, start=start, kept=done, phase=phase))

    def count(unit: int) -> None:
        nonlocal done
        done += _images(config, unit)
        report()

    report(context.starting)
    gpus = 1 if config.device == "cuda" else 0
    each = torch.cuda.device_count() if gpus else (os.cpu_count() or 1) // config.threads
    workers = Workers(count=config.workers or max(each, 1), cpus=config.threads, gpus=gpus)
    context.cluster.run_units(task, missing, workers=workers, stage=STAGE, on_done=count)


def _images(config: SampleConfig, unit: int) -> int:
    """Count the images of a unit that belong to the goal."""
    return min(config.batch_size, config.count - unit * config.batch_size)


def _seal(output: Output, config: SampleConfig, goal: dict[str, int]) -> Manifest:
    units = []
    for unit in range(-(-config.count // config.batch_size)):
        record = output.record(unit_name(unit))
        assert record is not None, f"unit {unit} was committed and has no record"
        units.append({"unit": unit, "rows": _images(config, unit), **record.as_json()})
    progress = output.record(PROGRESS)
    assert progress is not None, "the first unit was committed without its progress"
    units.append({"unit": len(units), "rows": progress.facts["rows"], **progress.as_json()})
    return output.seal(goal, units, {"images": config.count, "settings": config.result_settings()})


def _artifact(manifest: Manifest, *, reused: bool) -> Samples:
    return Samples(
        name=manifest.name, key=manifest.key, digest=manifest.digest, reused=reused, count=manifest.facts["images"]
    )
