"""One `ddpm serve` for all tests of this folder, and a gate in front of its server that can be shut."""

import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import refresh_global_settings_context
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from infra.services.prefect.api import PrefectApi, prefect_api
from infra.services.prefect.deployments import Deployment
from tests.infra.services.prefect.gate import Gate


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The server that the tests ask and inspect.

    Attributes:
        root: The root that is served.
        api: Its API.
        url_of_threads: The API that a new thread used as soon as the server was there.
        said: What the server had to say on the terminal.
    """

    root: str
    api: PrefectApi
    url_of_threads: str | None
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="package")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A real server with a database of its own, announced to the other commands of its root."""
    folder = tmp_path_factory.mktemp("serving")
    said: list[str] = []
    with contextlib.ExitStack() as stack:
        # Only while it starts: what else runs in this process meanwhile, Ray's workers too, goes by the current folder.
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.delenv("PREFECT_API_URL", raising=False)
            api = stack.enter_context(prefect_api(str(folder / "root"), say=said.append, serve=True))
        with ThreadPoolExecutor(1) as thread:
            url = thread.submit(lambda: get_current_settings().api.url).result()
        yield Serving(root=str(folder / "root"), api=api, url_of_threads=url, said=said)


@pytest.fixture
def client(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """Prefect's settings lead to the server, and this client asks it, as another program would."""
    monkeypatch.setenv("PREFECT_API_URL", serving.api.url)
    with temporary_settings({PREFECT_API_URL: serving.api.url}), get_client(sync_client=True) as asking:
        yield asking


@pytest.fixture
def gate(serving: Serving, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Prefect's settings lead to the server through a gate; `client` does not go through it."""
    with Gate(int(serving.api.ui.rpartition(":")[2])) as between:
        url = f"{between.url}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        refresh_global_settings_context()  # new threads go by it
        with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
            yield between
    monkeypatch.setenv("PREFECT_API_URL", serving.api.url)
    refresh_global_settings_context()


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any settings of Prefect, in an empty folder."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def deployment() -> Deployment:
    """A deployment that nobody else has."""
    return Deployment(
        name=f"digits-{uuid.uuid4().hex[:8]}",
        description="Minutes.",
        parameters={"preset": "digits", "root": "/runs"},
        schema={"title": "Parameters", "type": "object", "properties": {"train": {"type": "object"}}},
        tags=["ddpm", "digits"],
        accepts=lambda parameters: "old" not in parameters,
    )


@pytest.fixture
def no_signal_of_ours_stays() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == before
    assert not [thread for thread in threading.enumerate() if thread.name == "prefect-run"]
