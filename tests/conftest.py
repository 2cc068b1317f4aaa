"""Fixtures of all tests: a clean environment, a tiny config, and the finished run of it."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from flows.artifacts import Dataset, Figures, Samples, Snapshot
from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config
from flows.run_record import FinishedRun
from flows.stage import Context
from infra.compute.cluster import Cluster
from infra.storage.open import open_store
from infra.storage.store import Store
from tests.servers import Server, moto_server, seaweed_server
from tests.tiny import TINY

# Tests that keep to one process, by the starts of their files: those that start Ray or Prefect one after the other, or
# they would starve each other; those of S3 and MLflow since they share their servers.
_TOGETHER = {
    "clusters": (
        "tests/e2e/",
        "tests/flows/commands/",
        "tests/flows/doctor/checks/test_cluster.py",
        "tests/infra/services/",
        "tests/infra/compute/test_beside.py",
        "tests/infra/compute/test_cluster.py",
        "tests/infra/compute/test_connection.py",
        "tests/infra/compute/test_group.py",
        "tests/infra/compute/test_group_losses.py",
        "tests/infra/compute/test_head.py",
        "tests/infra/compute/test_nodes.py",
        "tests/infra/compute/test_ray_heartbeat.py",
        "tests/infra/compute/test_ray_signals.py",
        "tests/infra/compute/test_reaper.py",
        "tests/infra/compute/test_units.py",
    ),
    "stores": (
        "tests/infra/outputs/test_s3",
        "tests/infra/sources/kinds/test_s3",
        "tests/infra/storage/test_s3",
        "tests/infra/storage/test_store.py",
        "tests/infra/tracking/",
    ),
}
_SERVERS = ("RAY_ADDRESS", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DDPM_ROOT")


class _Groups(LoadScopeScheduling):
    """Keeps a file's tests in one process, and those of all files of a group.

    By file name, since pytest-xdist 3.8 does not get its marks across with pytest 9.2: it sets a private name that
    pytest no longer reads, and spreads the tests of a group without a word.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((group for group, starts in _TOGETHER.items() if file.startswith(starts)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Groups:
    """Give the parallel runner its groups."""
    return _Groups(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """For this process: another runs beside it, and threads that wait for each other cost more than they do."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _threads_given_back() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_servers_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_SERVERS, *(name for name in os.environ if name.startswith("AWS_"))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own: no test reads or writes the user's."""
    before = {name: os.environ.get(name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    home = tmp_path_factory.mktemp("home")
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "XDG_STATE_HOME": str(home / ".state")}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt this process: pytest-xdist's workers ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def revised(config: Any, values: dict[str, Any]) -> Any:
    """A config with other values, checked as those of a user are."""
    return type(config).model_validate(config.model_dump() | values)


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """An S3 server that starts in a second."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 store."""
    with seaweed_server(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def tiny() -> PipelineConfig:
    """The tiny config."""
    return load_config("digits", None, TINY)


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    """Make a context that works in this process, by default below the test's own folder."""

    def make(root: Path | None = None, **more: object) -> Context:
        store = open_store(str(root or tmp_path / "root"))
        store.make()
        return Context(store=store, cluster=Cluster(mode="in-process"), **more)

    return make


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


@pytest.fixture(scope="session")
def _sealed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[PipelineConfig], TinyRun]:
    """One tiny pipeline, run once in this process."""
    from flows.stages.evaluate.evaluation import evaluate
    from flows.stages.prepare.preparation import prepare
    from flows.stages.sample.sampling import sample
    from flows.stages.train.training import train

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
