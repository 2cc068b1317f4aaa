"""A Prefect server of our own."""

import os
import urllib.request
from pathlib import Path

import pytest

from infra.errors import StorageError
from infra.services.prefect import _state_folder, prefect_api


def test_a_server_for_as_long_as_it_is_needed(tmp_path: Path) -> None:
    with prefect_api(str(tmp_path)) as url:
        assert os.environ["PREFECT_API_URL"] == url
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            assert reply.status == 200
    assert "PREFECT_API_URL" not in os.environ
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/health", timeout=5)


def test_a_given_server_must_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(StorageError, match="no Prefect server answers"), prefect_api(str(tmp_path)):
        pass


def test_two_runs_of_one_root_have_databases_of_their_own(tmp_path: Path) -> None:
    with _state_folder(str(tmp_path)) as first, _state_folder(str(tmp_path)) as second:
        assert first != second
    assert first.is_dir()
    assert not second.exists()
    with _state_folder(str(tmp_path)) as third:
        assert third == first
