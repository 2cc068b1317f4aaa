"""Sample: draws images from a snapshot, by reverse chains that run in parallel on Ray."""

from functools import cache, partial

from flows.artifacts import Samples, Snapshot
from flows.missing import Amount
from flows.nodes.devices import environment_of, nodes_for, resolve, workers_of
from flows.nodes.survey import Survey, SurveyedTask
from flows.snapshot import decode_snapshot
from flows.stage import Context
from flows.stages.sample.batch import USUAL, fitting_batch
from flows.stages.sample.config import SampleConfig, check_label
from flows.stages.sample.units import PROGRESS, STAGE, SampleTask, unit_name
from infra.compute.compilation import COMPILING
from infra.compute.hardware import gpu_memory
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan

FORMAT_VERSION = 4


def sample(config: SampleConfig, snapshot: Snapshot, context: Context) -> Samples:
    """Draw `config.count` images and seal them; counts share their common images.

    Raises:
        DivergedError: If a chain produces numbers that are not finite.
    """
    if not config.batch_size:
        # Before the plan, because images differ by rounding between batches.
        config = config.model_copy(update={"batch_size": _fitting_batch(config, snapshot, context)})
    resolved = cache(partial(resolve, config, context.cluster, STAGE, context.say))
    untrained = _untrained(config, snapshot, context)
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=config.key_settings() | ({"untrained_classes": list(untrained)} if untrained else {}),
        inputs={"snapshot": snapshot.digest},
    )
    goal = config.goals()

    def make(output: Output, survey: Survey) -> Manifest:
        _run(resolved(), snapshot, output, context, survey, untrained)
        return _seal(output, resolved(), goal)

    manifest, reused = context.sealed(
        plan,
        goal,
        lambda: environment_of("sampling", resolved(), {}),
        make,
        amount=Amount(total=config.count, each=config.batch_size),
        noun="set of samples",
    )
    return Samples.of(manifest, reused=reused)


def _untrained(config: SampleConfig, snapshot: Snapshot, context: Context) -> tuple[int, ...]:
    """Return the classes that are never drawn, as training recorded them; none if one label is drawn."""
    untrained = tuple(snapshot.manifest(context.store).facts.get("untrained_classes", ()))
    if untrained and config.label < 0:
        context.say(f"{STAGE:>9} {len(untrained):,} classes without a training image are not drawn")
        return untrained
    if untrained:
        check_label(config, max(*untrained, config.label) + 1, "network", untrained)
    return ()


def _fitting_batch(config: SampleConfig, snapshot: Snapshot, context: Context) -> int:
    found, nodes = nodes_for(config, context.cluster, STAGE, context.say)
    memory = gpu_memory(nodes) if found.device == "cuda" else 0
    count = _batch_on_a_gpu(config, snapshot, memory, context) if memory else USUAL
    context.say(f"{STAGE:>9} {count:,} images at a time (sample.batch_size=0)")
    return count


def _batch_on_a_gpu(config: SampleConfig, snapshot: Snapshot, memory: int, context: Context) -> int:
    trained = snapshot.manifest(context.store)
    record = trained.units[0]
    shape = decode_snapshot(read_verified(context.store, trained.folder, record), record["file"]).network.config
    return fitting_batch(shape, memory, guided=bool(shape.num_classes) and config.guidance_scale != 1)


def _run(
    config: SampleConfig,
    snapshot: Snapshot,
    output: Output,
    context: Context,
    survey: Survey,
    untrained: tuple[int, ...],
) -> None:
    trained = snapshot.manifest(context.store)
    if config.compile:
        context.say(f"{STAGE:>9} {COMPILING}")
    task = SampleTask(
        output=output,
        config=config,
        snapshot_folder=trained.folder,
        snapshot=trained.units[0],
        untrained_classes=untrained,
    )
    context.run_missing(
        SurveyedTask(task=task, survey=survey, output=output),
        range(-(-config.count // config.batch_size)),
        stage=STAGE,
        workers=workers_of(config),
        is_done=lambda unit: output.record(unit_name(unit)) is not None,
        size=partial(_images, config),
        less_memory="set a smaller sample.batch_size",
    )


def _images(config: SampleConfig, unit: int) -> int:
    """Return the number of a unit's images that belong to the goal."""
    return min(config.batch_size, config.count - unit * config.batch_size)


def _seal(output: Output, config: SampleConfig, goal: dict[str, int]) -> Manifest:
    units = []
    for unit in range(-(-config.count // config.batch_size)):
        record = output.record(unit_name(unit))
        assert record is not None, f"unit {unit} is committed but has no record"
        units.append({"unit": unit, "rows": _images(config, unit), **record.as_json()})
    progress = output.record(PROGRESS)
    assert progress is not None, "the first unit is committed without its progress"
    units.append({"unit": len(units), "rows": progress.facts["rows"], **progress.as_json()})
    return output.seal(goal, units, {"images": config.count, "settings": config.result_settings()})
