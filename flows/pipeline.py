"""The Prefect flow, and one task per stage: names and retries; no logic."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Failed

from flows.artifacts import Artifact, Figures
from flows.options import name_options
from flows.recipe.config import PipelineConfig
from flows.recipe.form import changed
from flows.recipe.form_schema import in_form_words
from flows.recipe.run import recipe_surroundings, steps
from flows.runtime.runner import run_stage
from flows.runtime.settings import RunSettings
from flows.stage import Stage
from flows.stage_config import StageConfig
from flows.stages.table import STAGES
from infra.errors import DdpmError, DivergedError, StorageError
from infra.services.prefect.run.log import plain_log
from infra.services.prefect.run.run import PrefectRun
from infra.services.prefect.run.stops import RunUnreported, end_with_server

# Only storage errors are retried, because only they may pass; finished units are kept.
_RETRIES = 2
_RETRY_DELAY_S = 5

# How long a finished run waits to report its end to a server that does not answer.
_API_LIMIT_S = 600.0
_FAILED, _DIVERGED = "Failed", "Diverged"
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
        return run_stage(stage, settings, config, *inputs)

    return work


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
    image_size: int | None = None,
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
    preset: str | None = None,
    prepare: Settings | None = None,
    train: Settings | None = None,
    sample: Settings | None = None,
    evaluate: Settings | None = None,
    run: Settings | None = None,
) -> Figures | State[Figures]:
    """Run the stages one after the other; a stage that is already sealed is not run again.

    Every parameter is optional and defaults to the recipe's value; `flows.recipe.form` maps each to its setting.
    """
    parameters = dict(locals())
    page = PrefectRun.current()
    with plain_log(in_form_words):
        try:
            return _run(parameters, page)
        except DdpmError as error:
            # A state instead of an exception, because Prefect would log its traceback and keep it in a file.
            name_options(error)
            line = in_form_words(str(error))
            get_run_logger().error(line)
            state = _DIVERGED if isinstance(error, DivergedError) else _FAILED
            if page is not None:
                page.fail(line, state)
            return Failed(name=state, message=line, data=error)


def _run(parameters: Mapping[str, Any], page: PrefectRun | None) -> Figures:
    end_with_server()
    config, settings = changed(parameters, page.deployment_parameters() if page else {})
    if page is None:
        return _stages(config, settings, None)
    page.close_lost_tasks()
    with page.watched():
        figures = _stages(config, settings, page)
    if not page.await_api(_API_LIMIT_S, _LOGGER.warning):
        raise RunUnreported("the run is finished; Prefect still shows it as running, as its server does not answer")
    return figures


def _stages(config: PipelineConfig, settings: RunSettings, page: PrefectRun | None) -> Figures:
    with recipe_surroundings(config, settings, page=page):
        results = {stage.name: result for stage, result in steps(config, settings, lambda stage: TASKS[stage.name])}
    figures: Figures = results["evaluate"]
    return figures
