"""The client for calls beside the work: it does not wait for a server that is away."""

import time

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from infra.services.prefect.client import prompt_client


@pytest.mark.parametrize("retries", [0, 2])
def test_it_asks_as_often_as_it_is_to(retries: int) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 5}):
        with prompt_client(retries):
            assert PREFECT_CLIENT_MAX_RETRIES.value() == retries
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 5


def test_a_server_that_is_away_is_known_at_once() -> None:
    begun = time.monotonic()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), prompt_client() as client:
        assert client.api_healthcheck() is not None
    assert time.monotonic() - begun < 5
