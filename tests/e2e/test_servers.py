"""The real servers: a Ray cluster of two nodes, a Prefect server that runs a scheduled deployment, MLflow over HTTP."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddpm_core.choices import ScheduleKind
from flows.stages.table import STAGES
from infra.services.prefect.api import prefect_api
from tests.e2e.processes import Command, digests, settings
from tests.e2e.serving import Server, Serving, free_port
from tests.tiny import TINY

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Servers:
    """The places of everything."""

    environment: dict[str, str]
    root: Path
    folder: Path


def await_reply(url: str, limit_s: float = 90) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, f"no answer from {url}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All three, for all tests here."""
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("servers")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "PREFECT_LOGGING_LEVEL")}
    # A cluster that others may join shares its token; this one is on loopback and has none.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with (folder / "mlflow.log").open("wb") as log:
        mlflow = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        with prefect_api(str(folder), say=print) as prefect:
            await_reply(f"http://127.0.0.1:{port}/health")
            environment = {
                "RAY_ADDRESS": cluster.address,
                "RAY_AUTH_MODE": "disabled",
                "PREFECT_API_URL": prefect.url,
                "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
            }
            yield Servers(environment=environment, root=folder / "root", folder=folder)
    finally:
        cluster.shutdown()
        os.killpg(mlflow.pid, signal.SIGTERM)
        mlflow.wait(30)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def scheduled(servers: Servers) -> dict[str, Any]:
    """A flow run that `ddpm serve` ran at the time it was scheduled for; two sampling workers need both nodes."""
    serving = Serving(servers.folder, **servers.environment)
    try:
        when = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": when}}
        deployment = serving.server.deployment()
        values = parse_settings([*TINY, "sample.workers=2"])
        run = serving.server.post(
            f"/deployments/{deployment['id']}/create_flow_run", {"parameters": values, "state": state}
        )
        ended = serving.await_end(run["id"], 240)
        assert ended["state_type"] == "COMPLETED", serving.text()
        return {"run": ended, "deployment": deployment}
    finally:
        serving.stop()


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`a.b=value` as the groups of the form."""
    groups: dict[str, Any] = {}
    for setting in settings:
        path, _, text = setting.partition("=")
        stage, _, name = path.partition(".")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        groups.setdefault(stage, {})[name] = value
    return groups


def test_prefect_ran_one_task_a_stage(servers: Servers, scheduled: dict[str, Any]) -> None:
    server, run = Server(servers.environment["PREFECT_API_URL"]), scheduled["run"]["id"]
    assert server.tasks(run) == dict.fromkeys([stage.name for stage in STAGES], "COMPLETED")
    assert server.artifacts(run).keys() >= {"train-progress", "sample-progress", "result"}


def test_the_form_is_typed(servers: Servers, scheduled: dict[str, Any]) -> None:
    schema = scheduled["deployment"]["parameter_openapi_schema"]
    train = schema["definitions"]["TrainChanges"]
    assert train["additionalProperties"] is False
    assert schema["properties"]["images"]["minimum"] == 1
    assert train["properties"]["schedule"]["enum"] == list(ScheduleKind)
    assert all(setting.get("description") for setting in train["properties"].values())
    assert scheduled["deployment"]["parameters"] == {"preset": "digits", "root": str(servers.root)}


def test_the_cluster_gives_the_digests_of_one_process(
    servers: Servers, scheduled: dict[str, Any], tmp_path: Path
) -> None:
    arguments = [
        "evaluate",
        "digits",
        *settings(*TINY),
        "--root",
        str(tmp_path / "one"),
        "--in-process",
        "--no-tracking",
    ]
    alone = Command(arguments, tmp_path / "log")
    assert alone.wait() == 0, alone.text()
    assert digests(servers.root) == digests(tmp_path / "one")


def test_two_runs_compare_in_mlflow(servers: Servers, scheduled: dict[str, Any], tmp_path: Path) -> None:
    again = Command(
        ["run", "digits", *settings(*TINY, "train.seed=1"), "--root", str(servers.root)],
        tmp_path / "log",
        **servers.environment,
    )
    assert again.wait() == 0, again.text()
    from mlflow import MlflowClient

    client = MlflowClient(servers.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("ddpm")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags["ddpm.stage"] == "pipeline"]
    assert len(parents) == 2
    assert len(runs) == 2 * 5
    figures = []
    for parent in parents:
        children = {
            run.data.tags["ddpm.stage"]: run
            for run in runs
            if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        }
        assert set(children) == {"prepare", "train", "sample", "evaluate"}
        assert all(run.info.status == "FINISHED" for run in [parent, *children.values()])
        figures.append(_figures(client, parent, children))
    first, second = figures
    assert {first["seed"], second["seed"]} == {"0", "1"}
    assert first["steps"] == second["steps"] == [320, 640, 960, 1280]
    assert first["losses"] != second["losses"]
    assert first["dataset"] == second["dataset"]
    assert first["bits"] != second["bits"]


def _figures(client: Any, parent: Any, children: dict[str, Any]) -> dict[str, Any]:
    def files(run: Any) -> set[str]:
        # Whether so short a training has time for a grid depends on the machine.
        return {file.path for file in client.list_artifacts(run.info.run_id)} - {"images"}

    common = {"manifest.json", "config.json"}
    assert {stage: files(run) for stage, run in {"pipeline": parent, **children}.items()} == {
        "pipeline": {"report.html", "provenance.json", "plots", "samples.png"},
        "prepare": common | {"card.html"},
        "train": common | {"snapshot.safetensors", "history.jsonl"},
        "sample": common | {"samples.png"},
        "evaluate": common | {"metrics.json", "provenance.json"},
    }
    train = children["train"]
    history = client.get_metric_history(train.info.run_id, "train/loss")
    (dataset,) = train.inputs.dataset_inputs
    return {
        "seed": train.data.params["train.seed"],
        "steps": [metric.step for metric in history],
        "losses": [metric.value for metric in history],
        "dataset": dataset.dataset.digest,
        "bits": parent.data.metrics["eval/bits_per_dim_fixed_large"],
    }
