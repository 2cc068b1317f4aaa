"""`ddpm serve` as its users use it: what the pages do, by the HTTP calls that they make, on the real server."""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.recipe.settings import load_config
from tests.e2e.processes import Command, settings
from tests.e2e.serving import IN_PROCESS, TINY_FORM, TINY_OPTIONS, Serving


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    started = Serving(tmp_path_factory.mktemp("serve"))
    yield started
    started.stop()
    started.command.assert_nothing_left(10)


@pytest.fixture(scope="module")
def scheduled(serving: Serving) -> dict[str, Any]:
    """A run that the server's scheduler made of a schedule, as the dialog saves it: with a few fields filled."""
    number = serving.server.deployment()["id"]
    # The scheduler may look only after the moment named; then the first run is one interval, a minute, later.
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=8)).isoformat()
    schedule = {"interval": 60, "anchor_date": soon, "timezone": "Europe/Vienna"}
    schedules = f"/deployments/{number}/schedules"
    body = [{"schedule": schedule, "active": True, "parameters": TINY_FORM | IN_PROCESS}]
    (made,) = serving.server.post(schedules, body)
    query = {"flow_runs": {"deployment_id": {"any_": [number]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 1}

    def begun() -> bool:
        found = serving.server.post("/flow_runs/filter", query)
        return bool(found) and found[0]["state_type"] != "SCHEDULED"

    serving.server.await_that(begun, 150, serving.text)
    serving.server.post(f"{schedules}/{made['id']}", None, "DELETE")  # and with it the runs of the next minutes
    (run,) = serving.server.post("/flow_runs/filter", query)
    return serving.await_end(run["id"])


def test_a_schedule_makes_its_runs(scheduled: dict[str, Any]) -> None:
    assert scheduled["auto_scheduled"]
    assert scheduled["state_type"] == "COMPLETED", scheduled["state"]["message"]


def test_a_few_fields_change_what_they_name_and_nothing_else(serving: Serving, scheduled: dict[str, Any]) -> None:
    named = {"root": str(serving.root), "preset": "digits"}
    assert scheduled["parameters"] == named | TINY_FORM | IN_PROCESS
    expected = load_config("digits", None, TINY_OPTIONS)
    (plan,) = serving.root.glob("train/*/plan.json")
    assert json.loads(plan.read_text())["settings"] == expected.train.key_settings()
    assert expected.train.learning_rate == load_config("digits", None, []).train.learning_rate, "nobody named it"


def test_one_name_leads_everywhere(serving: Serving, scheduled: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    name = scheduled["name"]
    assert name.startswith("digits-train.")
    client = MlflowClient(f"sqlite:///{serving.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ddpm").experiment_id
    (parent,) = client.search_runs([experiment], f"attributes.run_name = '{name}'")
    assert parent.data.tags["ddpm.prefect"].endswith(f"/runs/flow-run/{scheduled['id']}")
    assert parent.data.params["train.images"] == "1280"
    assert "eval/bits_per_dim_fixed_large" in parent.data.metrics
    report = (serving.root / "reports" / name / "report.html").read_text()
    assert f"/runs/flow-run/{scheduled['id']}" in report


def test_the_same_choice_on_the_command_line_is_the_same_run(
    serving: Serving, scheduled: dict[str, Any], tmp_path: Path
) -> None:
    arguments = ["run", "digits", *settings(*TINY_OPTIONS), "--root", str(serving.root)]
    again = Command(arguments, tmp_path / "log", RAY_ADDRESS="127.0.0.1:1")  # whoever needs Ray fails
    assert again.wait() == 0, again.text()
    assert again.text().count("found sealed") == 4
    assert scheduled["name"] in again.text()
    query = {"flow_runs": {"name": {"any_": [scheduled["name"]]}}}
    found = serving.server.post("/flow_runs/filter", query)
    assert len(found) == 2, "the pages of this root's server show it too"
    assert {run["state_type"] for run in found} == {"COMPLETED"}


def test_prefects_own_command_line_may_name_one_setting(serving: Serving, scheduled: dict[str, Any]) -> None:
    """`prefect deployment run -p` on a deployment whose parameters a user changed."""
    number = serving.server.deployment()["id"]
    before = serving.server.deployment()["parameters"]
    serving.server.post(f"/deployments/{number}", {"parameters": before | TINY_FORM | IN_PROCESS}, "PATCH")
    try:
        command = [sys.executable, "-m", "prefect", "deployment", "run", "ddpm/digits", "-p", 'train={"seed": 3}']
        environment = os.environ | {"PREFECT_API_URL": serving.server.api}
        made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        query = {"flow_runs": {"deployment_id": {"any_": [number]}}, "sort": "ID_DESC", "limit": 20}
        (run,) = [
            run
            for run in serving.server.post("/flow_runs/filter", query)
            if run["parameters"].get("train") == {"seed": 3}
        ]
        ended = serving.await_end(run["id"])
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    finally:
        serving.server.post(f"/deployments/{number}", {"parameters": before}, "PATCH")
    plans = [json.loads(plan.read_text())["settings"] for plan in serving.root.glob("train/*/plan.json")]
    (other,) = [plan for plan in plans if plan.get("seed") == 3]
    assert other == load_config("digits", None, [*TINY_OPTIONS, "train.seed=3"]).train.key_settings()


def test_the_runs_page_says_what_the_terminal_said(serving: Serving, scheduled: dict[str, Any]) -> None:
    log = "\n".join(serving.server.log(scheduled["id"]))
    for stage in ("prepare", "train", "sample", "evaluate"):
        assert f"{stage}: " in log
    assert "digest" in log
    assert "bits/dim" in log
    artifacts = serving.server.artifacts(scheduled["id"])
    page = artifacts["result"]["data"]
    assert f"reports/{scheduled['name']}/report.html" in page
    assert "workflowType=machine_learning" in page
    assert "![samples](data:image/png;base64," in page
    assert "fd_pixels" in page
    assert "1,280 of 1,280 images" in artifacts["train-progress"]["description"]
    assert artifacts["train-progress"]["data"] == 100


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"preset": "folder"}, "by content and name) - fill in “Images to read”"),
        ({"sampler": "ode", "train": {"zero_terminal_snr": True, "parameterisation": "v"}}, "set it to ddim"),
        ({"preset": "folder", "source": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_what_cannot_work_is_one_line(serving: Serving, parameters: dict[str, Any], says: str) -> None:
    run = serving.server.start(parameters)
    ended = serving.await_end(run, 60)
    assert ended["state_type"] == "FAILED"
    assert says in ended["state"]["message"]
    assert "\n" not in ended["state"]["message"]
    assert "--" not in ended["state"]["message"]
    serving.server.await_line(run, says)
    assert not [line for line in serving.server.log(run) if "Traceback" in line]
    assert "Traceback" not in serving.text()


def test_a_restart_leaves_what_users_made(serving: Serving) -> None:
    server = serving.server
    number, folder = server.deployment()["id"], server.deployment("folder")["id"]
    cron = {"cron": "0 3 * * *", "timezone": "Europe/Vienna"}
    mine = {"schedule": cron, "active": False, "parameters": {"train": {"images": 512}}, "slug": "nightly"}
    server.post(f"/deployments/{number}/schedules", [mine])
    server.post(f"/deployments/{folder}/pause_deployment", {})
    before = schedules(server.deployment())
    assert len(before) == 1

    assert serving.stop() == 130
    assert "Traceback" not in serving.text()
    serving.again()

    assert schedules(server.deployment()) == before
    assert not server.deployment()["paused"]
    assert server.deployment("folder")["paused"], "its user paused it"
    assert server.deployment()["id"] == number


def test_its_server_has_the_automations(serving: Serving) -> None:
    """After the restart there are no more of them than before it."""
    found = serving.server.post("/automations/filter", {})
    assert sorted(one["name"].partition(": ")[0] for one in found) == ["ddpm"] * 5
    assert all(one["enabled"] for one in found)


def schedules(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    kept = ("id", "schedule", "active", "parameters", "slug")
    return sorted(({name: one[name] for name in kept} for one in deployment["schedules"]), key=lambda one: one["id"])


def test_a_second_one_on_the_port_is_refused(serving: Serving, tmp_path: Path) -> None:
    arguments = ["serve", "--root", str(tmp_path / "root"), "--port", str(serving.port)]
    second = Command(arguments, tmp_path / "log")
    assert second.wait() == 7
    (line,) = second.text().splitlines()
    assert f"port {serving.port}" in line
    assert "--port" in line
    assert f"PREFECT_API_URL=http://127.0.0.1:{serving.port}/api" in line
    deployment = serving.server.deployment()
    assert deployment["parameters"]["root"] == str(serving.root)
    assert not deployment["paused"]
