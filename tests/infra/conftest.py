"""One local Ray for all tests of the cluster, and an output of a made-up stage for those of plans."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cluster import Cluster
from infra.plan import Output, Plan
from infra.store import LocalStore, open_store


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """Connected when the first test works with it."""
    with Cluster(mode="ray") as cluster:
        yield cluster


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty root."""
    opened = open_store(str(tmp_path / "root"))
    opened.make()
    return opened


@pytest.fixture
def plan() -> Plan:
    """What the stage would do."""
    return Plan(stage="bake", format_version=1, settings={"heat": 180, "parts": [1, 2]}, inputs={"dough": "ab" * 32})


@pytest.fixture
def output(store: LocalStore, plan: Plan) -> Output:
    """Where it would do it."""
    return Output(store=store, plan=plan)
