"""`ddpm serve` with a recipe of the user, a schedule and a key, on its own server."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.services.prefect.schedule import SLUG
from tests.e2e.processes import Command, settings
from tests.e2e.serving import ENDED, IN_PROCESS, TINY_OPTIONS, Server, Serving

pytestmark = pytest.mark.slow
KEY = "somebody:with-a-secret"
NAME = "mine"
NIGHTLY, MINUTELY = "0 3 * * *", "* * * * *"


class Guarded(Server):
    """A Prefect server's API that asks for a key."""

    def get(self, path: str) -> Any:
        return self.post(path, None, "GET")

    def post(self, path: str, body: object, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        key = base64.b64encode(KEY.encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
        call = urllib.request.Request(f"{self.api}{path}", data, headers, method=method)
        with urllib.request.urlopen(call, timeout=30) as reply:
            text = reply.read()
        return json.loads(text) if text else None


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("recipe")
    file = folder / "recipe.json"
    groups: dict[str, dict[str, Any]] = {}
    for one in TINY_OPTIONS:
        path, _, text = one.partition("=")
        stage, _, setting = path.partition(".")
        value = text if text in ("float32", "pixels") else json.loads(text)
        groups.setdefault(stage, {})[setting] = value
    file.write_text(json.dumps(groups))
    options = ["digits", "--config", str(file), "--set", "train.seed=5", "--name", NAME, "--stages"]
    options += ["--cron", NIGHTLY, "--timezone", "Europe/Vienna", "--tag", "team-a"]
    started = Serving(folder, *options, PREFECT_SERVER_API_AUTH_STRING=KEY)
    started.server = Guarded(started.server.api)
    yield started
    started.stop()
    assert KEY not in started.text()


@pytest.fixture(scope="module")
def run(serving: Serving) -> dict[str, Any]:
    number = serving.server.start(IN_PROCESS, NAME)
    serving.server.await_that(lambda: serving.server.state(number) in ENDED, 150, serving.text)
    return serving.server.run(number)


def test_the_recipe_is_a_deployment_and_so_is_each_stage(serving: Serving) -> None:
    every = serving.server.post("/deployments/filter", {})
    assert sorted(one["name"] for one in every) == [NAME, *(f"{NAME}-{s}" for s in ("prepare", "sample", "train"))]
    made = serving.server.deployment(NAME)
    assert made["parameters"]["recipe"]["train"]["seed"] == 5
    assert sorted(made["tags"]) == ["ddpm", "digits", "team-a"]
    (schedule,) = made["schedules"]
    assert (schedule["slug"], schedule["schedule"]["timezone"]) == (SLUG, "Europe/Vienna")
    assert serving.server.deployment(f"{NAME}-train")["schedules"] == []
    assert f"schedule {NIGHTLY} (Europe/Vienna) of {NAME}" in serving.text()


def test_its_run_is_the_run_of_the_command_line(serving: Serving, run: dict[str, Any], tmp_path: Path) -> None:
    assert run["state_type"] == "COMPLETED", serving.text()
    assert run["name"].startswith(f"{NAME}-")
    options = settings(*TINY_OPTIONS, "train.seed=5")
    arguments = ["run", "digits", *options, "--name", NAME, "--root", str(serving.root), "--in-process"]
    environment = {"PREFECT_API_AUTH_STRING": KEY}
    again = Command(arguments, tmp_path / "log", **environment)
    assert again.wait() == 0, again.text()
    assert again.text().count("found sealed") == 4
    assert run["name"] in again.text()
    assert KEY not in again.text()


def test_without_the_key_a_run_says_so_in_one_line(serving: Serving, run: dict[str, Any], tmp_path: Path) -> None:
    again = Command(["run", "digits", "--root", str(serving.root)], tmp_path / "log")
    assert again.wait() == 2, again.text()
    (line,) = again.text().splitlines()
    assert "refuses the key of these settings, or asks for one" in line
    assert "PREFECT_API_AUTH_STRING" in line


def test_a_stage_alone_ends_after_it(serving: Serving, run: dict[str, Any]) -> None:
    number = serving.server.start(IN_PROCESS, f"{NAME}-train")
    serving.server.await_that(lambda: serving.server.state(number) in ENDED, 150, serving.text)
    assert serving.server.state(number) == "COMPLETED", serving.text()
    assert set(serving.server.tasks(number)) == {"prepare", "train"}


def test_the_schedule_follows_the_command_and_makes_runs(serving: Serving, run: dict[str, Any]) -> None:
    """Parameters that users gave its runs stay, and so do their own schedules."""
    number = serving.server.deployment(NAME)["id"]
    (ours,) = serving.server.deployment(NAME)["schedules"]
    users = {"schedule": {"cron": "0 5 * * *", "timezone": "UTC"}, "active": False, "slug": "of-a-user"}
    serving.server.post(f"/deployments/{number}/schedules", [users])
    serving.server.post(f"/deployments/{number}/schedules/{ours['id']}", {"parameters": IN_PROCESS}, "PATCH")
    assert serving.stop() == 130
    place = serving.options.index(NIGHTLY)
    serving.options = (*serving.options[:place], MINUTELY, *serving.options[place + 1 :])
    serving.again()
    schedules = {one["slug"]: one for one in serving.server.deployment(NAME)["schedules"]}
    assert {slug: one["schedule"]["cron"] for slug, one in schedules.items()} == {
        SLUG: MINUTELY,
        "of-a-user": "0 5 * * *",
    }
    assert schedules[SLUG]["parameters"] == IN_PROCESS
    query = {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}, "state": {"type": {"any_": list(ENDED)}}}}

    def scheduled() -> list[dict[str, Any]]:
        return list(serving.server.post("/flow_runs/filter", query))

    serving.server.await_that(lambda: bool(scheduled()), 150, serving.text)
    assert {one["state_name"] for one in scheduled()} == {"Completed"}, serving.text()
    assert {one["name"] for one in scheduled()} == {run["name"]}, "the same run, whose stages are sealed"
