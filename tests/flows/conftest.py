"""One tiny pipeline, run once in this process; each test that needs it gets a copy of its root."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from flows.artifacts import Dataset, Figures, Samples, Snapshot
from flows.recipe.config import PipelineConfig
from flows.stage import Context
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.prepare.preparation import prepare
from flows.stages.report.record import FinishedRun
from flows.stages.sample.sampling import sample
from flows.stages.train.config import TrainConfig
from flows.stages.train.training import train
from infra.compute.cluster import Cluster
from infra.storage.open import open_store
from infra.storage.store import Store
from tests.oracles.training import STEP, Bench


@dataclass(frozen=True, kw_only=True)
class TinyRun:
    """A finished run of the tiny config and a context at its root."""

    config: PipelineConfig
    context: Context
    dataset: Dataset
    snapshot: Snapshot
    samples: Samples
    figures: Figures

    @property
    def store(self) -> Store:
        return self.context.store

    @property
    def root(self) -> Path:
        return Path(self.context.store.uri)

    @property
    def finished(self) -> FinishedRun:
        return FinishedRun(dataset=self.dataset, snapshot=self.snapshot, samples=self.samples, figures=self.figures)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small work is fastest on one thread; and what a test sets, it gives back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _sealed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[PipelineConfig], TinyRun]:
    made: list[TinyRun] = []

    def once(config: PipelineConfig) -> TinyRun:
        if not made:
            store = open_store(str(tmp_path_factory.mktemp("tiny")))
            context = Context(store=store, cluster=Cluster(mode="in-process"))
            dataset = prepare(config.prepare, context)
            snapshot = train(config.train, dataset, context)
            samples = sample(config.sample, snapshot, context)
            figures = evaluate(config.evaluate, dataset, snapshot, samples, context)
            made.append(
                TinyRun(
                    config=config,
                    context=context,
                    dataset=dataset,
                    snapshot=snapshot,
                    samples=samples,
                    figures=figures,
                )
            )
        assert made[0].config == config, "the fixture keeps one run of one config"
        return made[0]

    return once


@pytest.fixture
def tiny_run(
    _sealed: Callable[[PipelineConfig], TinyRun],
    tiny: PipelineConfig,
    tmp_path: Path,
    make_context: Callable[..., Context],
) -> TinyRun:
    """The run, at a root that belongs to the test."""
    run = _sealed(tiny)
    root = tmp_path / "tiny-run"
    shutil.copytree(run.root, root)
    return TinyRun(**(vars(run) | {"context": make_context(root)}))


@pytest.fixture
def config(tiny: PipelineConfig) -> TrainConfig:
    """A training of a few steps; tests of another stage have a config of their own."""
    return tiny.train.model_copy(
        update={
            "device": "cpu",
            "batch_size": STEP,
            "checkpoint_images": 5 * STEP,
            "history_images": 5 * STEP,
            "lr_warmup_images": 10 * STEP,
            "num_res_blocks": 1,
            "channel_mults": [1],
            "attention_resolutions": [8],
        }
    )


@pytest.fixture
def bench(tiny_run: TinyRun) -> Bench:
    """Workers beside the finished run."""
    return Bench(tiny_run)


@pytest.fixture(scope="session")
def _database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow, which takes seconds to make."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def root(tmp_path: Path, _database: Path) -> Path:
    """A root without outputs, whose MLflow opens at once."""
    folder = tmp_path / "root"
    folder.mkdir()
    shutil.copy(_database, folder)
    return folder
