"""A client of the Prefect API for calls beside the work."""

import contextlib
from collections.abc import Iterator

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings


@contextlib.contextmanager
def prompt_client(retries: int = 0) -> Iterator[SyncPrefectClient]:
    """Provide a client that answers soon; without retries, the caller asks again later."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: retries}), get_client(sync_client=True) as client:
        yield client
