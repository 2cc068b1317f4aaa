"""Runs of `ddpm serve` stopped in every way that its users have: paused, cancelled, killed, without their server."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.services.prefect.api import prefect_api
from tests.e2e.processes import Command, everything_left
from tests.e2e.serving import IN_PROCESS, TINY_FORM, Serving, endless

pytestmark = pytest.mark.slow


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    started = Serving(tmp_path)
    yield started
    started.stop()


def statuses(serving: Serving) -> dict[str, str]:
    """MLflow's status of each run, by stage."""
    client = MlflowClient(f"sqlite:///{serving.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ddpm").experiment_id
    return {run.data.tags["ddpm.stage"]: run.info.status for run in client.search_runs([experiment])}


def workers(serving: Serving) -> list[str]:
    return [line for line in serving.command.left() if "prefect.engine" in line or line.startswith("ray::")]


def test_paused_it_stops_and_resumed_it_goes_on(serving: Serving) -> None:
    server, run = serving.server, serving.train()
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    server.set_state(run, "PAUSED", "Suspended", pause_reschedule=True, pause_timeout=soon)
    assert server.await_that(lambda: not workers(serving), 15, lambda: workers(serving)) < 15
    assert server.run(run)["state_name"] == "Suspended"
    kept = serving.last_checkpoint()
    server.await_line(run, f"{kept:,} are kept")
    server.await_that(lambda: server.tasks(run)["train"] == "CANCELLED", 15, lambda: server.tasks(run))

    server.post(f"/flow_runs/{run}/resume", {"run_input": {}})
    serving.await_training(run, above=kept)
    server.await_line(run, f"resumed at {kept:,} of")

    server.set_state(run, "PAUSED", "Suspended", pause_reschedule=True)
    server.set_state(run, "CANCELLING", "Cancelling")
    assert serving.await_end(run, 40)["state_type"] == "CANCELLED"
    server.await_that(lambda: not workers(serving), 15, lambda: workers(serving))
    server.await_that(lambda: "CRASHED" not in server.tasks(run).values(), 15, lambda: server.tasks(run))
    assert statuses(serving) == {"pipeline": "KILLED", "prepare": "FINISHED", "train": "KILLED"}


def test_a_deleted_run_stops(serving: Serving) -> None:
    run = serving.train()
    serving.server.post(f"/flow_runs/{run}", None, "DELETE")
    serving.server.await_that(lambda: not workers(serving), 20, lambda: workers(serving))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_serve_is_stopped_during_a_run(serving: Serving, number: int, code: int) -> None:
    run = serving.train()
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(serving.command.process.pid, number)  # as a terminal does: the whole group
    else:
        serving.command.process.send_signal(number)
    assert serving.command.wait(60) == code
    assert time.monotonic() - began < 25
    ended = time.monotonic()
    while left := everything_left(serving.command.mark):
        assert time.monotonic() - ended < 10, left
        time.sleep(0.2)
    assert "Traceback" not in serving.text()
    assert f"{serving.last_checkpoint():,} are kept" in serving.text()
    assert statuses(serving)["train"] == "KILLED"

    serving.again()
    assert serving.server.state(run) == "CANCELLED"
    assert serving.server.run(run)["state"]["message"]
    assert not any(serving.server.deployment(name)["paused"] for name in ("digits", "folder", "fashion-mnist"))


def test_killed_nothing_lives_on_and_the_next_start_says_so(serving: Serving) -> None:
    run = serving.train()
    serving.command.process.kill()
    serving.command.wait()
    ended = time.monotonic()
    while left := everything_left(serving.command.mark):
        assert time.monotonic() - ended < 10, left
        time.sleep(0.2)
    kept = serving.last_checkpoint()
    serving.again()
    about = serving.server.run(run)
    assert about["state_type"] == "CRASHED"
    assert about["name"] in serving.text()
    assert serving.server.tasks(run) == {"prepare": "COMPLETED", "train": "CRASHED"}
    second = serving.server.start(endless())
    serving.await_training(second, above=kept)
    serving.server.await_line(second, f"resumed at {kept:,} of")


def test_a_killed_run_is_crashed_and_leaves_nothing(serving: Serving) -> None:
    run = serving.train()
    (engine,) = [pid for pid, line in serving.command.processes() if "prefect.engine" in line]
    os.kill(engine, signal.SIGKILL)
    assert serving.await_end(run, 30)["state_type"] == "CRASHED"
    began = time.monotonic()
    while left := [line for line in everything_left(serving.command.mark) if "ray" in line]:
        assert time.monotonic() - began < 10, left
        time.sleep(0.2)


def test_a_store_that_stays_away_is_tried_three_times_and_wrong_images_once(serving: Serving, tmp_path: Path) -> None:
    serving.root.mkdir(exist_ok=True)
    (serving.root / "prepare").symlink_to("prepare")  # a circle: the system's error is one that may pass
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    own = str(tmp_path / "other")
    wrong = {"preset": "folder", "source": str(tmp_path / "images"), "root": own}
    for parameters, attempts in ((TINY_FORM | IN_PROCESS, 3), (wrong | IN_PROCESS, 1)):
        run = serving.server.start(parameters)
        assert serving.await_end(run)["state_type"] == "FAILED"
        query = {"flow_runs": {"id": {"any_": [run]}}}
        made = serving.server.post("/task_runs/filter", query)
        assert {task["name"]: task["run_count"] for task in made} == {"prepare": attempts}, serving.text()
        assert serving.server.run(run)["run_count"] == 1, "nothing repeats the run itself"


def finishing(images: int = 60_000) -> dict[str, Any]:
    return TINY_FORM | {"images": images, "train": TINY_FORM["train"] | {"checkpoint_images": 2560}}


def test_its_server_killed_the_work_goes_on(serving: Serving) -> None:
    run = serving.server.start(finishing())
    serving.await_training(run)
    (server,) = [pid for pid, line in serving.command.processes() if "infra.services.prefect.server" in line]
    os.kill(server, signal.SIGKILL)
    assert serving.await_end(run)["state_type"] == "COMPLETED"
    assert "the Prefect server ended (code -9); starting it again" in serving.text()
    assert serving.server.tasks(run)["train"] == "COMPLETED"


def test_an_outside_server_away_for_long_costs_a_warning(tmp_path: Path) -> None:
    """Ninety seconds used to end the training."""
    said: list[str] = []
    with prefect_api(str(tmp_path / "server"), say=said.append, serve=True) as api:
        assert api.server is not None
        serving = Serving(tmp_path, PREFECT_API_URL=api.url)
        try:
            run = serving.server.start(finishing(400_000))
            serving.await_training(run)
            os.kill(api.server.pid, signal.SIGSTOP)  # it answers nobody, and nobody starts it again
            time.sleep(100)
            os.kill(api.server.pid, signal.SIGCONT)
            assert serving.await_end(run, 400)["state_type"] == "COMPLETED", serving.text()
            assert serving.text().count("the work goes on") == 1
        finally:
            serving.stop()


def test_what_the_server_reports_reaches_the_terminal_once(serving: Serving) -> None:
    databases = Path(os.environ["XDG_CACHE_HOME"]).glob("ddpm-flows/prefect-*/prefect.db")
    database = max(databases, key=lambda file: file.stat().st_mtime)  # other tests leave theirs
    with sqlite3.connect(database) as tables:
        tables.execute("ALTER TABLE deployment_schedule RENAME TO elsewhere")
    serving.server.await_that(lambda: "no such table" in serving.text(), 120, serving.text)
    time.sleep(70)  # its scheduler tries again every minute
    lines = [line for line in serving.text().splitlines() if "no such table: deployment_schedule" in line]
    assert len(lines) == 1, serving.text()


def test_two_equal_runs_train_once(tmp_path: Path) -> None:
    serving = Serving(tmp_path, "--limit", "2")
    try:
        first = serving.server.start(finishing())
        serving.await_training(first)
        second = serving.server.start(finishing())
        serving.server.await_line(second, "waiting for it to end", limit_s=60)
        assert serving.await_end(first)["state_type"] == "COMPLETED"
        assert serving.await_end(second)["state_type"] == "COMPLETED"
        serving.server.await_that(
            lambda: any(line.startswith("train: ") and "found sealed" in line for line in serving.server.log(second)),
            30,
            serving.text,
        )
        assert statuses(serving) == dict.fromkeys(("pipeline", "prepare", "train", "sample", "evaluate"), "FINISHED")
    finally:
        serving.stop()


def test_the_embedded_server_killed_the_run_ends_well(tmp_path: Path) -> None:
    from tests.e2e.processes import settings
    from tests.e2e.serving import TINY_OPTIONS

    options = settings(*TINY_OPTIONS, "train.images=60000", "train.checkpoint_images=2560")
    root = tmp_path / "root"
    running = Command(["run", "digits", *options, "--root", str(root)], tmp_path / "log")
    running.await_that(lambda: bool(list(root.glob("train/*/checkpoints/*.json"))))
    (server,) = [pid for pid, line in running.processes() if "infra.services.prefect.server" in line]
    os.kill(server, signal.SIGKILL)
    assert running.wait() == 0, running.text()
    assert "starting it again, the work goes on" in running.text()
    assert "report.html" in running.text()
