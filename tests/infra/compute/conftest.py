"""A scripted jobs server for each test that asks for one, and this process as its client."""

import time
from collections.abc import Iterator

import pytest

from infra.compute.jobs import Jobs
from tests.infra.compute.jobs_server import JobsServer, jobs_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsServer]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with jobs_server() as scripted:
        yield scripted


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def jobs(server: JobsServer, said: list[str]) -> Jobs:
    return Jobs(
        address=server.url, patience_s=5, say=said.append, poll_s=0.01, sleep=lambda s: time.sleep(min(s, 0.01))
    )
