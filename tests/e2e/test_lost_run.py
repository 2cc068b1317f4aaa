"""A run without a runner that is killed: no process tells the server, so an automation that runs bring does."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.services.prefect.api import prefect_api
from tests.e2e.processes import Command, settings
from tests.e2e.serving import TINY_OPTIONS, Server

pytestmark = pytest.mark.slow

# Prefect sends a sign of life every half minute at most, and the automation waits for three.
BEAT_S, WINDOW_S, LIMIT_S = 30, 90.0, 150


def has_trained(root: Path) -> bool:
    return bool(list(root.glob("train/*/checkpoints/*.json")))


def test_killed_it_is_crashed_in_bounded_time_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    def run_of(name: str, server: Server) -> dict[str, Any]:
        found = server.post("/flow_runs/filter", {"flow_runs": {"name": {"like_": name}}})
        return found[0] if found else {"state_type": "", "state": {}}

    endless = settings(*TINY_OPTIONS, "train.images=50000000", "train.checkpoint_images=640")
    with prefect_api(str(tmp_path / "server"), say=print, serve=True) as api:
        server = Server(api.url)
        environment = {"PREFECT_API_URL": api.url, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(BEAT_S)}
        commands: dict[str, Command] = {}
        try:
            for number, name in enumerate(("killed", "living")):
                own = ["--set", f"train.seed={number}", "--name", name, "--root", str(tmp_path / name)]
                arguments = ["run", "digits", *endless, *own, "--in-process", "--no-tracking"]
                commands[name] = Command(arguments, tmp_path / f"{name}.log", **environment)
            for name, command in commands.items():
                command.await_that(partial(has_trained, tmp_path / name), 120)
            os.kill(commands["killed"].process.pid, signal.SIGKILL)
            commands["killed"].wait()
            began = time.monotonic()
            assert run_of("killed", server)["state_type"] == "RUNNING", "nobody knows it yet"
            server.await_that(
                lambda: run_of("killed", server)["state_type"] == "CRASHED", LIMIT_S, lambda: run_of("killed", server)
            )
            assert "gave no sign of life" in run_of("killed", server)["state"]["message"]
            time.sleep(max(0.0, WINDOW_S + 10 - (time.monotonic() - began)))
            assert run_of("living", server)["state_type"] == "RUNNING"
            assert "took the run for lost" not in commands["living"].text()
        finally:
            for command in commands.values():
                if command.process.poll() is None:
                    command.process.send_signal(signal.SIGINT)
                    command.wait(60)
