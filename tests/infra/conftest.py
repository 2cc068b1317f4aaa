"""One local Ray for all tests of the cluster, empty roots, and an output of a made-up stage for tests of plans."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.compute.cluster import Cluster
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from infra.storage.s3_client import Limits
from infra.storage.s3_store import S3Store
from tests.faults.proxy import Proxy, fault_proxy
from tests.servers import BUCKET, Server

QUICK = Limits(total_s=10, connect_s=1, read_s=5, first_wait_s=0.01, longest_wait_s=0.1)


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
def moto_store(moto: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty root on moto."""
    return _empty(moto, monkeypatch)


@pytest.fixture
def seaweed_store(seaweed: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty root on SeaweedFS."""
    return _empty(seaweed, monkeypatch)


@pytest.fixture(params=["moto_store", "seaweed_store"], ids=["moto", "seaweed"])
def s3_store(request: pytest.FixtureRequest) -> S3Store:
    """An empty root of each kind of server."""
    opened: S3Store = request.getfixturevalue(request.param)
    return opened


@pytest.fixture
def proxy(seaweed: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A network in front of SeaweedFS that fails when told to."""
    with fault_proxy(seaweed.url) as running:
        for name, value in seaweed.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def _empty(server: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return S3Store(BUCKET, f"tests/{uuid.uuid4().hex}", QUICK)


@pytest.fixture
def plan() -> Plan:
    """The plan of a stage."""
    return Plan(stage="bake", format_version=1, settings={"heat": 180, "parts": [1, 2]}, inputs={"dough": "ab" * 32})


@pytest.fixture
def output(store: LocalStore, plan: Plan) -> Output:
    """The output of that plan."""
    return Output(store=store, plan=plan)
