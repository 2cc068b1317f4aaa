"""One local Ray for all tests of the cluster."""

from collections.abc import Iterator

import pytest

from infra.cluster import Cluster


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """Connected when the first test works with it."""
    with Cluster(mode="ray") as cluster:
        yield cluster
