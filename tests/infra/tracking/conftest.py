"""A database per module, and a tracker per test with a pipeline key of its own."""

from pathlib import Path

import pytest

from infra.tracking.tracker import Tracker
from tests.infra.tracking.records import SOURCE, make_run, make_tracker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module: making it takes seconds; each test has a pipeline key of its own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def tracker(folder: Path, key: str) -> Tracker:
    made = make_tracker(folder)
    made.connect()
    made.start(make_run(key, inputs=[SOURCE], tags={"ddpm.report": "/report"}))
    assert made.complaint == ""
    return made
