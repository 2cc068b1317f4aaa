"""Running a recipe: its surroundings, and its stages one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from flows.artifacts import Dataset
from flows.given import Given
from flows.metrics.choices import TO_STATISTICS
from flows.nodes.devices import check_device
from flows.recipe.config import PipelineConfig
from flows.recipe.identity import recipe_key, run_key, run_name, settings_of
from flows.root import resolve_root
from flows.runtime.connections import open_cluster, open_tracker
from flows.runtime.runner import settle
from flows.runtime.settings import RunSettings
from flows.runtime.surroundings import (
    RunPage,
    Surroundings,
    announced,
    current_surroundings,
    open_surroundings,
)
from flows.stage import Stage
from flows.stage_config import StageConfig
from flows.stages.prepare.sources import check_source, source_inputs
from flows.stages.table import STAGES
from infra.compute.cluster import Cluster
from infra.errors import DdpmError
from infra.record import TrackedRun
from infra.storage.open import open_store
from infra.storage.store import Store

# Runs a stage on its config and inputs: a Prefect task, or `run_stage` itself.
Step = Callable[..., Any]


def steps(
    config: PipelineConfig, settings: RunSettings, step: Callable[[Stage[Any, Any]], Step], last: str = ""
) -> Iterator[tuple[Stage[Any, Any], Any]]:
    """Run each stage on the results of earlier stages; yield the stage with its result.

    Args:
        config: The settings of every stage.
        settings: The run's settings.
        step: Returns the function that runs a stage on (settings, config, *inputs).
        last: The name of the last stage to run; all stages run if it is empty.

    Raises:
        DdpmError: If a stage fails, or its settings do not suit the data.
    """
    done: dict[str, Any] = {}
    names = [stage.name for stage in STAGES]
    to_come = STAGES[: names.index(last) + 1] if last else STAGES
    if (around := current_surroundings()) is not None:
        around.planned = {one.name: part for one in to_come if (part := getattr(config, one.name, None)) is not None}
        around.check = partial(check_devices, around.planned, around.cluster)
    for stage in to_come:
        inputs = (done[name] for name in stage.inputs)
        done[stage.name] = step(stage)(settings, getattr(config, stage.name, None), *inputs)
        if isinstance(data := done[stage.name], Dataset):
            _check(config, data, to_come)
        yield stage, done[stage.name]


def check_devices(configs: Mapping[str, StageConfig], cluster: Cluster) -> None:
    """Refuse a device or a number format that the cluster does not have, before the run's first work.

    Args:
        configs: The settings of the stages that the run comes to, by stage.
        cluster: The place of their work.
    """
    for stage, config in configs.items():
        check_device(config, cluster, stage)


def _check(config: PipelineConfig, dataset: Dataset, stages: Sequence[Stage[Any, Any]]) -> None:
    """Refuse settings that do not suit the data, before the next stage begins."""
    around = current_surroundings()
    parts = [(stage, part) for stage in stages if (part := getattr(config, stage.name, None)) is not None]
    try:
        for stage, part in parts:
            stage.check(part, dataset)
        if around is not None:
            for stage, part in parts:
                settle(around, stage, part, dataset)
    except DdpmError:
        if around is not None:
            around.tracker.end("", "FAILED")  # because no stage is running that would end it
        raise


@contextmanager
def recipe_surroundings(
    config: PipelineConfig, settings: RunSettings, *, page: RunPage | None = None
) -> Iterator[Surroundings]:
    """Open the surroundings of a run of this recipe.

    Args:
        config: The settings of every stage.
        settings: The run's settings.
        page: The run's page in a workflow service.
    """
    store = open_root(config, settings)
    opened: list[Surroundings] = []

    def identify(data_key: str) -> None:
        reference = _reference_digest(config)
        key = key_of_run(config, data_key, given)
        run = TrackedRun(
            key=key,
            name=run_name(config, settings.preset, key, settings.name),
            params=settings_of(config)
            | {"prepare.source": config.prepare.source, "data.key": data_key}
            | ({"prepare.test_source": config.prepare.test_source} if config.prepare.test_source else {})
            | ({"evaluate.reference_sha256": reference} if reference else {})
            | _given_params(config, given),
            inputs=source_inputs(config.prepare, data_key, "source"),
        )
        opened[0].begin(run, recipe_key(config))

    with announced(settings, store, page):
        given = find_given(config, store)
        with open_surroundings(settings, _cpus(config), identify, page) as around:
            around.given = given
            opened.append(around)
            yield around


def key_of_run(config: PipelineConfig, data_key: str, given: Mapping[str, Given]) -> str:
    """Return the key of a run on some data.

    Args:
        config: The settings of every stage.
        data_key: The data's key.
        given: The inputs from outside that were found, by setting.
    """
    digests = "".join(f"{name}{found.digest}" for name, found in given.items())
    return run_key(config, f"{data_key}{_reference_digest(config)}{digests}")


def find_given(config: PipelineConfig, store: Store) -> dict[str, Given]:
    """Find the network that training starts from, and refuse one that does not fit; empty if none is set."""
    if not config.train.initial:
        return {}
    from flows.stages.train.initial import SETTING, find_initial, read_initial
    from flows.stages.train.misfits import check_fit

    given = find_initial(config.train.initial, store)
    network = read_initial(given.digest, store)
    check_fit(network, given.place, config.train, config.prepare.image_size, config.prepare.channels)
    return {SETTING: given}


def _given_params(config: PipelineConfig, given: Mapping[str, Given]) -> dict[str, str]:
    """Return the address and the digest of each input from outside, for MLflow."""
    return {name: config.train.initial for name in given} | {
        f"{name}_digest": found.digest for name, found in given.items()
    }


def _reference_digest(config: PipelineConfig) -> str:
    """Return the digest of the file that takes the reference's place; empty if there is none or nothing uses it."""
    evaluate = config.evaluate
    if not evaluate.reference_statistics or not TO_STATISTICS & set(evaluate.metrics):
        return ""
    from flows.metrics.reference_file import read_reference

    return read_reference(evaluate.reference_statistics)[1]


def prefetch(config: PipelineConfig, settings: RunSettings, cluster: Cluster) -> None:
    """Open the tracking store and, unless this recipe already has a report, Ray: each takes seconds to start."""
    from flows.stages.report.page import has_report

    store = open_root(config, settings)
    if settings.force or not has_report(store, recipe_key(config)):
        cluster.connect()
        cluster.warm_up()
    open_tracker(settings, store).connect()


def open_run_cluster(config: PipelineConfig, settings: RunSettings) -> Cluster:
    """Return the cluster of a run of this recipe, not yet connected."""
    return open_cluster(settings, _cpus(config))


def _cpus(config: PipelineConfig) -> int:
    return max(getattr(config, name).cpus for name in type(config).model_fields)


def open_root(config: PipelineConfig, settings: RunSettings) -> Store:
    """Make the root, unless the source of images does not allow it; return its store.

    Raises:
        InputError: If the source is not set.
        ConfigError: If it holds the root.
    """
    store = open_store(resolve_root(settings.root))
    check_source(config.prepare, store.uri)
    store.make()
    return store
