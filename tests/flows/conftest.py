"""Fixtures of the tests of the pipeline."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.recipe.config import PipelineConfig
from flows.run_record import RunRecord
from flows.stages.train.config import TrainConfig
from tests.conftest import TinyRun
from tests.flows.stages.train.bench import STEP, Bench

# Of the run that `finished` records.
NAME = "digits-1a2b3c4d"


@pytest.fixture
def config(tiny: PipelineConfig) -> TrainConfig:
    """A training of a few steps, not watched; tests of another stage have a config of their own."""
    return tiny.train.model_copy(
        update={
            "device": "cpu",
            "batch_size": STEP,
            "checkpoint_images": 5 * STEP,
            "history_images": 5 * STEP,
            "history_seconds": 1e6,
            "lr_warmup_images": 10 * STEP,
            "num_res_blocks": 1,
            "channel_mults": [1],
            "attention_resolutions": [8],
            "watch_share": 0.0,
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


@pytest.fixture
def sealed_root(tiny_run: TinyRun, _database: Path) -> Path:
    """A root with everything that the tiny run sealed, of which MLflow knows nothing and no report is written."""
    shutil.copy(_database, tiny_run.root)
    return tiny_run.root


@pytest.fixture
def finished(tiny_run: TinyRun) -> TinyRun:
    """The tiny run with its record, without the page, which takes seconds to draw."""
    RunRecord(name=NAME, finished=tiny_run.finished, elsewhere={"MLflow": "http://x/"}).write(tiny_run.store)
    return tiny_run


def manifest(run: TinyRun, kind: str) -> dict[str, Any]:
    """A manifest of a run, `dataset`, `snapshot`, `samples` or `figures`, as plain JSON."""
    return json.loads((run.root / getattr(run, kind).name).read_text())
