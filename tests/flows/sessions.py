"""Whole runs in this process, and what a page beside them hears."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from flows.recipe.config import PipelineConfig
from flows.recipe.run import recipe_surroundings, steps
from flows.recipe.settings import load_config
from flows.runtime.runner import run_stage
from flows.runtime.settings import RunSettings
from flows.runtime.surroundings import Surroundings
from tests.pictures import encoded, picture
from tests.tiny import TINY

# The tiny config on images of a folder, and fewer of them.
SMALL = ("prepare.kind=folder", "prepare.image_size=8", "prepare.channels=1", "train.images=128", "sample.count=8")
SMALL += ("train.checkpoint_images=64", "train.history_images=64", "train.num_timesteps=5", "evaluate.bpd_images=2")
SMALL += ("train.watch_share=0",)


class Page:
    """A run's page that keeps what is shown on it."""

    page = "http://prefect.example/runs/flow-run/1"

    def __init__(self) -> None:
        self.name = ""
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.progress: list[tuple[str, float, str]] = []
        self.pages: dict[str, str] = {}
        self.tables: dict[str, list[dict[str, str]]] = {}
        self.champions: list[tuple[str, str]] = []
        self.waits = threading.Event()

    def rename(self, name: str) -> None:
        self.name = name

    def show_progress(self, stage: str, percent: float, line: str) -> None:
        self.progress.append((stage, percent, line))

    def show_page(self, key: str, markdown: str, line: str) -> None:
        self.pages[key] = markdown

    def show_table(self, key: str, rows: list[dict[str, str]], line: str) -> None:
        self.tables[key] = rows

    def announce_champion(self, address: str, line: str) -> None:
        self.champions.append((address, line))

    def log(self, line: str, *, is_warning: bool = False) -> None:
        self.lines.append(line)
        if is_warning:
            self.warnings.append(line)
        if "waiting for it to end" in line:
            self.waits.set()


def put_images(folder: Path, seeds: Iterable[int]) -> Path:
    """Write small images into a folder, so that a tenth or so is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / f"{seed}.png").write_bytes(encoded(picture(seed)))
    return folder


def small(source: Path, *settings: str) -> PipelineConfig:
    """The small config on a folder."""
    return load_config("digits", None, [*TINY, *SMALL, f"prepare.source={source}", *settings])


def run_settings(root: Path, **more: Any) -> RunSettings:
    return RunSettings(**({"preset": "digits", "root": str(root), "mode": "in-process"} | more))


class Walk:
    """A run that is gone through stage by stage."""

    def __init__(self, around: Surroundings, config: PipelineConfig) -> None:
        self.around = around
        self._steps = steps(config, around.settings, lambda stage: partial(run_stage, stage))

    @property
    def name(self) -> str:
        return self.around.name

    def to(self, name: str) -> Any:
        """Run up to a stage; return its result."""
        for stage, result in self._steps:
            if stage.name == name:
                return result
        raise AssertionError(f"{name} was run before")

    def done(self, stage: str) -> int:
        """Return what this attempt did of a stage."""
        last = self.around.progress.last(stage)
        return last.done - last.start if last else 0

    @property
    def sealed_before(self) -> list[str]:
        """The stages that this attempt found sealed."""
        return [stage for stage, figure, _ in self.around.rates.values() if figure == "sealed before"]


@contextmanager
def opened(config: PipelineConfig, settings: RunSettings, page: Page | None = None) -> Iterator[Walk]:
    """Open a run."""
    with recipe_surroundings(config, settings, page=page) as around:
        yield Walk(around, config)


def run_whole(config: PipelineConfig, root: Path, page: Page | None = None, **more: Any) -> Walk:
    """A whole run, closed."""
    with opened(config, run_settings(root, **more), page) as walk:
        walk.to("report")
    return walk


def client_of(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def tracked_runs(root: Path, stage: str) -> dict[str, Run]:
    """MLflow's runs of a stage, or of the `pipeline`, by name."""
    client = client_of(root)
    experiment = client.get_experiment_by_name("ddpm")
    runs = client.search_runs([experiment.experiment_id], f"tags.`ddpm.stage` = '{stage}'")
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def everything(root: Path, run: Run) -> dict[str, Any]:
    """All that MLflow has of a run: settings, every point of every metric, tags, inputs and files."""
    client = client_of(root)
    fresh = client.get_run(run.info.run_id)
    points = {
        name: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run.info.run_id, name)]
        for name in fresh.data.metrics
    }
    inputs = [(data.dataset.name, data.dataset.digest) for data in fresh.inputs.dataset_inputs]
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in (root / "mlartifacts").glob(f"{run.info.run_id}/**/*")
        if path.is_file()
    }
    info = fresh.info.status, fresh.info.start_time, fresh.info.end_time, fresh.info.run_name
    return {
        "params": fresh.data.params,
        "points": points,
        "tags": fresh.data.tags,
        "inputs": inputs,
        "files": files,
        "info": info,
    }
