"""`ddpm up` for real: three servers, a run that uses them, crashes, a kill, and an orderly end."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.compute.reaper import marked
from infra.services.standing import Standing, find
from tests.e2e.processes import Command, settings
from tests.servers import free_ports
from tests.tiny import TINY

pytestmark = pytest.mark.slow

MAIN = [sys.executable, "-c", "from flows.cli import main; main()"]


class Up(Command):
    """A running `ddpm up`."""

    def __init__(self, folder: Path, number: int) -> None:
        self.root = folder / "root"
        self.ports = free_ports(4)
        names = ("--port", "--mlflow-port", "--ray-port", "--dashboard-port")
        options = [f"{name}={port}" for name, port in zip(names, self.ports, strict=True)]
        super().__init__(["up", "--root", str(self.root), *options], folder / f"up-{number}.log")

    @property
    def standing(self) -> Standing:
        found = find(str(self.root))
        assert found is not None
        return found

    def await_ready(self) -> None:
        self.await_that(lambda: "stop with Ctrl-C" in self.text(), 180)

    def call(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*MAIN, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=300
        )


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Up]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    started: list[Up] = []

    def start() -> Up:
        started.append(Up(tmp_path, len(started)))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.wait(90)


def until(so: Callable[[], object], limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not so():
        assert time.monotonic() < end
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True


def test_three_servers_a_run_a_crash_and_an_orderly_end(start: Callable[[], Up]) -> None:
    up = start()
    up.await_ready()
    standing = up.standing
    assert standing.is_ready
    assert standing.variables.keys() >= {"RAY_ADDRESS", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"}
    again = up.call("up", "--root", str(up.root))
    assert again.returncode == 0
    assert again.stdout.startswith(f"up already, by process {up.process.pid}\n")
    printed = up.call("up", "--root", str(up.root), "--print-env").stdout
    shell = f"{printed}\nexport -p"
    seen = subprocess.run(["sh", "-c", shell], env={}, capture_output=True, text=True, check=True).stdout
    assert all(f"{name}='{value}'" in seen for name, value in standing.variables.items())
    doctor = up.call(
        "doctor", "--json", "--root", str(up.root), "--only", "prefect", "--only", "mlflow", "--only", "cluster",
        **standing.variables,
    )  # fmt: skip
    assert doctor.returncode == 0, doctor.stdout
    causes = {one["check"]: one["cause"] for one in json.loads(doctor.stdout)["findings"]}
    assert causes["cluster"].startswith("1 node answers")
    assert "takes new experiments" in causes["mlflow"]

    pages, token = standing.pages["dashboard"].split("  its token is in ")
    key = {"Authorization": f"Bearer {Path(token).read_text().strip()}"}
    asked = urllib.request.Request(f"{pages}/api/version", headers=key)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer)["ray_version"]
    jobs = ("--execution", "job", "--ray-jobs", pages)
    run = up.call("run", "digits", "--root", str(up.root), *settings(*TINY), *jobs, **standing.variables)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "started as job" in run.stdout, run.stdout

    os.kill(_servers(standing, b"gcs_server")[0], signal.SIGKILL)
    until(lambda: "Ray ended" in up.text())
    until(lambda: _is_whole(up), 120)

    mlflow = standing.variables["MLFLOW_TRACKING_URI"]
    (server,) = _servers(standing, b"mlflow")[:1]
    os.kill(server, signal.SIGKILL)
    until(lambda: "MLflow ended" in up.text())
    until(lambda: answers(f"{mlflow}/health"))

    up.process.send_signal(signal.SIGINT)
    assert up.wait(90) == 130
    assert list(marked(standing.mark)) == []
    up.assert_nothing_left()
    assert not [folder for folder in Path("/tmp").glob("ddpm-up-*") if str(up.root) in folder.name]
    assert find(str(up.root)) is None


def _is_whole(up: Up) -> bool:
    """Whether the cluster answers."""
    command = ("doctor", "--json", "--root", str(up.root), "--only", "cluster")
    return up.call(*command, **up.standing.variables).returncode == 0


def test_a_killed_one_leaves_nothing_and_the_next_one_starts(start: Callable[[], Up]) -> None:
    first = start()
    first.await_ready()
    mark = first.standing.mark
    first.process.kill()
    first.wait()
    until(lambda: not list(marked(mark)), 30)
    first.assert_nothing_left()
    second = start()
    second.await_ready()
    second.process.send_signal(signal.SIGTERM)
    assert second.wait(90) == 143
    second.assert_nothing_left()


def _servers(standing: Standing, program: bytes) -> list[int]:
    """The processes with the mark of a `ddpm up` that run a program, the oldest first."""
    found = []
    for process in marked(standing.mark):
        if program in (process / "cmdline").read_bytes():
            found.append(int(process.name))
    return sorted(found)
