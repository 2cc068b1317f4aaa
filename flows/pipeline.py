"""The Prefect flow and its tasks: names, order and retries; no logic."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, flow, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from flows.artifacts import Checkpoint, Dataset, Report, Samples
from flows.config import EvaluateConfig, PipelineConfig, PrepareConfig, SampleConfig, TrainConfig
from flows.run_settings import RunSettings
from flows.session import Session, open_session
from infra.errors import StorageError

P = ParamSpec("P")
R = TypeVar("R")

# Only what another try can mend is tried again; finished units are kept.
_RETRIES = 2
_RETRY_DELAY_S = 5


def _worth_retrying(_task: object, _run: object, state: State[Any]) -> bool:
    return isinstance(state.data, StorageError) or isinstance(getattr(state.data, "__cause__", None), StorageError)


def _stage(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a Prefect task of a stage: its manifest is the cache, so Prefect keeps none."""
    return task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        retries=_RETRIES,
        retry_delay_seconds=_RETRY_DELAY_S,
        retry_condition_fn=_worth_retrying,
        persist_result=False,
    )


@flow(name="ddpm", description="Images to a trained DDPM, samples, a Fréchet distance and bits/dim.")
def pipeline(
    prepare: PrepareConfig, train: TrainConfig, sample: SampleConfig, evaluate: EvaluateConfig, run: RunSettings
) -> Report:
    """Run the four stages; those that are sealed already are found and not run again.

    Args:
        prepare: The images.
        train: The network and its training.
        sample: How many images to draw, and how.
        evaluate: What to measure.
        run: Where outputs go and what follows them.
    """
    config = PipelineConfig(prepare=prepare, train=train, sample=sample, evaluate=evaluate)
    with open_session(config, run, publish=_Artifacts()) as session:
        dataset: Dataset = prepare_task(session)
        checkpoint: Checkpoint = train_task(session, dataset)
        samples: Samples = sample_task(session, checkpoint)
        report: Report = evaluate_task(session, dataset, checkpoint, samples)
        session.finish(dataset, checkpoint, samples, report)
        return report


@_stage("prepare")
def prepare_task(session: Session) -> Dataset:
    """Images to a sealed data set."""
    return session.prepare()


@_stage("train")
def train_task(session: Session, dataset: Dataset) -> Checkpoint:
    """A data set to a trained network."""
    return session.train(dataset)


@_stage("sample")
def sample_task(session: Session, checkpoint: Checkpoint) -> Samples:
    """A trained network to images."""
    return session.sample(checkpoint)


@_stage("evaluate")
def evaluate_task(session: Session, dataset: Dataset, checkpoint: Checkpoint, samples: Samples) -> Report:
    """Images to figures."""
    return session.evaluate(dataset, checkpoint, samples)


class _Artifacts:
    """Progress artifacts of the running flow, one a stage."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __call__(self, stage: str, percent: float) -> None:
        context = FlowRunContext.get()
        if context is None:
            return
        if stage not in self._made:
            self._made[stage] = create_progress_artifact(progress=percent, key=f"{stage}-progress", description=stage)
        else:
            update_progress_artifact(self._made[stage], progress=percent)
