"""The Prefect flow, and one task per stage: names and retries; no logic."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.artifacts import Artifact, Figures
from flows.options import name_options
from flows.recipe.config import PipelineConfig
from flows.recipe.form import changed, sweep_of
from flows.recipe.form_schema import in_form_words
from flows.recipe.run import recipe_surroundings, steps
from flows.recipe.sweep_settings import SweepSettings
from flows.root import DEFAULT_ROOT, resolve_root
from flows.runtime.runner import run_stage
from flows.runtime.settings import RunSettings
from flows.stage import Stage
from flows.stage_config import StageConfig
from flows.stages.table import STAGES
from infra.errors import ConfigError, DdpmError, DivergedError, ResourceError, StorageError, Term
from infra.services.prefect.automations import provided
from infra.services.prefect.run.log import plain_log
from infra.services.prefect.run.run import PrefectRun
from infra.services.prefect.run.stops import RunOutOfTime, RunUnreported, end_with_server

# Only storage errors are retried, because only they may pass; finished units are kept.
_RETRIES = 2
_RETRY_DELAY_S = 5

# Prefect's own name of the state of a task whose result was there.
_CACHED, _FOUND = "Cached", "Found sealed; nothing was computed."

# How long a finished run waits to report its end to a server that does not answer.
_API_LIMIT_S = 600.0
_FAILED, _TIMED_OUT, _DIVERGED = "Failed", "TimedOut", "Diverged"
_LOGGER = logging.getLogger(__name__)

Settings = dict[str, Any]


def _worth_retrying(_task: object, _run: object, state: State[Any]) -> bool:
    return isinstance(state.data, StorageError) or isinstance(getattr(state.data, "__cause__", None), StorageError)


def _task_of(stage: Stage[Any, Any]) -> Task[..., Any]:
    """Make a Prefect task of a stage, with plain data in and out; Prefect caches nothing, as manifests do that."""

    @task(
        name=stage.name,
        description=stage.about,
        task_run_name=stage.name,
        cache_policy=NO_CACHE,
        retries=_RETRIES,
        retry_delay_seconds=_RETRY_DELAY_S,
        retry_condition_fn=_worth_retrying,
        persist_result=False,
    )
    def work(settings: RunSettings, config: StageConfig | None, *inputs: Artifact) -> object:
        result = run_stage(stage, settings, config, *inputs)
        return Completed(name=_CACHED, message=_FOUND, data=result) if getattr(result, "reused", False) else result

    return work


def _step(stage: Stage[Any, Any]) -> Callable[..., Any]:
    """Return the function that runs a stage's task and returns its result, also that of a cached one."""

    def step(*arguments: object) -> object:
        result = TASKS[stage.name](*arguments)
        return result.result() if isinstance(result, State) else result

    return step


TASKS = {stage.name: _task_of(stage) for stage in STAGES}


@flow(
    name="ddpm",
    description="Turn images into a trained DDPM, samples, a Fréchet distance and bits/dim.",
    validate_parameters=False,  # because `changed` does it, for the form, the API and the command line alike
    persist_result=False,
)
def pipeline(  # noqa: PLR0913 - one per field of the form
    name: str | None = None,
    root: str | None = None,
    source: str | list[str] | None = None,
    image_size: int | list[int] | None = None,
    images: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    base_channels: int | None = None,
    class_conditional: bool | None = None,
    workers: int | None = None,
    samples: int | None = None,
    sampler: str | None = None,
    sampling_steps: int | None = None,
    bound_images: int | None = None,
    until: str | None = None,
    preset: str | None = None,
    recipe: Settings | None = None,
    prepare: Settings | None = None,
    train: Settings | None = None,
    sample: Settings | None = None,
    evaluate: Settings | None = None,
    run: Settings | None = None,
    sweep: Settings | None = None,
) -> Figures | State[Figures] | None:
    """Run the stages one after the other; a stage that is already sealed is not run again.

    With a grid in `sweep` this run starts a run of this flow per combination instead, each in a process of its own with
    a page of its own, so that each can be followed, cancelled and retried as any other.

    Every parameter is optional and defaults to the recipe's value; `flows.recipe.form` maps each to its setting.

    Args:
        name: Name of the run. Empty: the recipe and what differs from it.
        root: Root of all outputs, a folder or s3://bucket/prefix. Empty: DDPM_ROOT of the process that runs.
        source: Images to read.
        image_size: Image size (pixels).
        images: Images to train on, repeats counted.
        batch_size: Batch size (images).
        learning_rate: Learning rate.
        base_channels: Width of the network (channels).
        class_conditional: Condition on classes.
        workers: Ray workers; 0 for all CPUs of the cluster, or all GPUs.
        samples: Images to draw.
        sampler: Sampler.
        sampling_steps: Steps of sampling.
        bound_images: Held-out images for the likelihood.
        until: The last stage to run. Empty: all stages.
        preset: The preset that empty fields take their values from.
        recipe: Settings by which your recipe differs from the preset, a group per stage.
        prepare: More settings of the stage prepare.
        train: More settings of the stage train.
        sample: More settings of the stage sample.
        evaluate: More settings of the stage evaluate.
        run: More settings of the run.
        sweep: A grid of settings, for one run per combination.
    """
    return _reported(dict(locals()))


def _reported(parameters: Mapping[str, Any]) -> Figures | State[Figures] | None:
    """Run the stages; return a failure that one line explains as a state."""
    page = PrefectRun.current()
    with plain_log(in_form_words):
        try:
            return _run(parameters, page)
        except DdpmError as error:
            # A state instead of an exception, because Prefect would log its traceback and keep it in a file.
            name_options(error)
            line = in_form_words(str(error))
            get_run_logger().error(line)
            state = _state_name(error)
            if page is not None:
                page.fail(line, state)
            return Failed(name=state, message=line, data=error)


def _state_name(error: DdpmError) -> str:
    """Return the name of the state that a run ends in; automations tell failures apart by it."""
    if isinstance(error.__cause__, RunOutOfTime):
        return _TIMED_OUT
    return _DIVERGED if isinstance(error, DivergedError) else _FAILED


def _run(parameters: Mapping[str, Any], page: PrefectRun | None) -> Figures | None:
    end_with_server()
    deployment = page.deployment_parameters() if page else {}
    config, settings = changed(parameters, deployment)
    choices = sweep_of(parameters, deployment)
    if choices is not None and settings.until:
        raise ConfigError(
            "a sweep compares figures, so its runs run to their end", item="until", remedy="empty one of both"
        )
    if page is None:
        return _stages(config, settings, None)
    _check_root(settings, page)
    page.close_lost_tasks()
    if skipped := page.skip_missed():
        page.log(f"does the work of {skipped} runs of its schedule that are due too")
    try:
        with provided(page.log), page.watched(60 * settings.timeout):
            figures = None
            if choices is None:
                figures = _stages(config, settings, page)
            else:
                _sweep(config, settings, choices, page)
    except RunOutOfTime as over:
        kept = "; ".join(getattr(over, "__notes__", []))
        raise ResourceError(
            f"stopped at its time limit of {settings.timeout:g} min" + (f"; {kept}" if kept else ""),
            item="run",
            remedy=f"a run of the same settings goes on from what is kept; {Term.MORE_TIME}",
        ) from over
    if not page.await_api(_API_LIMIT_S, _LOGGER.warning):
        raise RunUnreported("the run is finished; Prefect still shows it as running, as its server does not answer")
    return figures


def _sweep(config: PipelineConfig, settings: RunSettings, choices: SweepSettings, page: PrefectRun) -> None:
    """Run a sweep, whose runs find this process's Prefect server in their environment."""
    # Not with this module, because other runs have no need of plots.
    from flows.sweep.plan import plan_sweep
    from flows.sweep.running import finish, page_of, run_sweep
    from flows.sweep.sweep import open_sweep
    from flows.sweep.view import as_markdown

    plan = plan_sweep(config, settings.preset, settings.name, choices, page.log)
    page.rename(plan.name)
    sweep = open_sweep(plan, settings, choices, page.log)
    view = run_sweep(sweep)
    page.show_page("sweep", as_markdown(view), f"Figures of {plan.name}: {page_of(sweep)}")
    finish(sweep)


def _check_root(settings: RunSettings, page: PrefectRun) -> None:
    """Refuse to work below the folder that a worker has made for one run and removes after it."""
    root = resolve_root(settings.root)
    if page.is_deployed and "://" not in root and not Path(root).expanduser().is_absolute():
        what = "is not set" if root == DEFAULT_ROOT else f"{root} is a relative path"
        raise ConfigError(
            f"{what}, and a worker's own folder goes away with the run",
            item="root",
            remedy="set DDPM_ROOT where the worker starts, or the parameter root of the deployment",
        )


def _stages(config: PipelineConfig, settings: RunSettings, page: PrefectRun | None) -> Figures | None:
    done = steps(config, settings, _step, settings.until)
    with recipe_surroundings(config, settings, page=page):
        results = {stage.name: result for stage, result in done}
    figures: Figures | None = results.get("evaluate")
    return figures
