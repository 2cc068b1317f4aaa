"""What all tests share: a clean environment, and a tiny config that runs in a second."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from flows.recipe.config import PipelineConfig
from flows.recipe.presets import load_config
from flows.stage import Context
from infra.compute.cluster import Cluster
from infra.storage.open import open_store
from tests.servers import Server, moto_server, seaweed_server

# The digits, a chain of 20 steps and a network of a few thousand weights: every part, nothing slow.
TINY = (
    "train.images=1280",
    "train.history_images=320",
    "train.checkpoint_images=320",
    "train.batch_size=64",
    "train.num_timesteps=20",
    "train.beta_end=0.3",
    "train.base_channels=8",
    "train.norm_groups=4",
    "train.threads=1",
    "train.dtype=float32",
    "sample.count=24",
    "sample.batch_size=8",
    "sample.num_steps=5",
    "sample.dtype=float32",
    "evaluate.bpd_images=16",
    "evaluate.batch_size=8",
    "evaluate.extractor=fd_pixels",
)
# Tests that start Ray or a server: one after the other, or they would starve each other.
_ONE_AT_A_TIME = (
    "tests/e2e/",
    "tests/flows/commands/",
    "tests/infra/services/",
    "tests/infra/compute/test_cluster.py",
    "tests/infra/compute/test_group.py",
    "tests/infra/compute/test_ray_heartbeat.py",
    "tests/infra/compute/test_ray_signals.py",
    "tests/infra/compute/test_reaper.py",
    "tests/infra/compute/test_units.py",
    "tests/infra/outputs/test_s3",
    "tests/infra/sources/test_s3",
    "tests/infra/storage/test_s3",
    "tests/infra/storage/test_store.py",
    "tests/infra/tracking/",
)
_SERVERS = ("RAY_ADDRESS", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DDPM_ROOT")


class _Groups(LoadScopeScheduling):
    """Keeps a file's tests in one process, and those of all files that start servers in one.

    By file name, since pytest-xdist 3.8 does not get its marks across with pytest 9.2: it sets a private name that
    pytest no longer reads, and spreads the tests of a group without a word.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "servers" if file.startswith(_ONE_AT_A_TIME) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Groups:
    """Give the parallel runner its groups."""
    return _Groups(config, log)


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
