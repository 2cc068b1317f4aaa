"""Ray's client of a jobs server in plain words: versions, addresses and failed requests."""

import os

import pytest

from infra.compute.jobs_client import _OVERRIDING, _without, check_versions, connection_error, failed_request
from infra.errors import ConfigError, ResourceError


def test_only_the_same_version_passes() -> None:
    check_versions("2.60.0", "2.60.0", "http://head:8265")
    with pytest.raises(ConfigError, match=r"cluster http://head:8265: runs Ray 2\.59\.1, and this is Ray 2\.60\.0"):
        check_versions("2.59.1", "2.60.0", "http://head:8265")


def test_variables_that_ray_prefers_are_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with _without(_OVERRIDING):
        assert "RAY_ADDRESS" not in os.environ
    assert os.environ["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert "RAY_API_SERVER_ADDRESS" not in os.environ


def test_missing_packages_are_no_missing_server() -> None:
    here = connection_error(ModuleNotFoundError("needs 'ray[default]'"), "http://head:8265")
    there = connection_error(ConnectionError("[Errno 111] Connection refused"), "http://head:8265")
    assert isinstance(here, ConfigError)
    assert isinstance(there, ResourceError)
    assert "ddpm-flows[jobs]" in here.remedy


def test_a_failed_request_is_named_by_its_cause_alone() -> None:
    long = "HTTPConnectionPool(host='h', port=1): ('Connection aborted', [Errno 111] Connection refused)"
    assert failed_request(ConnectionError(long)) == "[Errno 111] Connection refused"
    assert failed_request(ConnectionError("status code 503")) == "status code 503"
