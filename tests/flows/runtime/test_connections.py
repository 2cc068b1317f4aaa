"""The cluster and the tracker of a run follow its settings and the usual variables."""

from pathlib import Path

import pytest

from flows.runtime.connections import cluster_address, open_cluster, open_jobs, open_tracker
from flows.runtime.settings import RunSettings
from infra.errors import ConfigError
from infra.storage.local_store import LocalStore


def test_the_variable_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster_address() is None
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert cluster_address() is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster_address() == "10.0.0.1:6379"


def test_a_ray_client_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS ray://10\.0\.0\.1:10001: Ray Client connections break"):
        open_cluster(RunSettings(), 1)


def test_the_tracker_is_that_of_the_root_or_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path / "root")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert open_tracker(RunSettings(tracking=False), store).uri == ""
    assert not (tmp_path / "root").exists()
    assert open_tracker(RunSettings(), store).uri == f"sqlite:///{tmp_path}/root/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:word@mlflow.example")
    assert open_tracker(RunSettings(), store).uri == "http://mlflow.example", "without the password"


def test_the_jobs_server_is_that_of_the_setting_or_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert open_jobs(RunSettings(ray_jobs="http://head:8265"), print) is None
    with pytest.raises(
        ConfigError, match="ray_jobs: is not set, and execution=job needs it - set --ray-jobs or RAY_API"
    ):
        open_jobs(RunSettings(execution="job"), print)
    for address in ("head:8265", "me:word@head:8265", "ray://me:word@head:8265"):
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
        with pytest.raises(ConfigError, match=r"ray_jobs: not the address of a jobs server: (ray://)?head:8265 - set"):
            open_jobs(RunSettings(execution="job"), print)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://head/")
    for setting, address in (("", "https://head"), ("http://other:8265", "http://other:8265")):
        jobs = open_jobs(RunSettings(execution="job", ray_jobs=setting, patience=2), print)
        assert jobs is not None
        assert (jobs.address, jobs.patience_s) == (address, 120)


def test_a_run_whose_stages_are_jobs_starts_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")  # nobody connects to it
    cluster = open_cluster(RunSettings(execution="job"), 4)
    assert (cluster.mode, cluster.address) == ("in-process", None)
