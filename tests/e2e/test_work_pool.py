"""prefect.yaml on a real server with a process pool and its worker: runs end sealed, cancelled or timed out."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.services.prefect.api import prefect_api
from tests.e2e.processes import MARK, everything_left
from tests.e2e.serving import ENDED, IN_PROCESS, TINY_FORM, Server, endless

pytestmark = pytest.mark.slow
TOP = Path(__file__).parents[2]
NAME = "pool-digits"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A work pool with one worker.

    Attributes:
        server: Its Prefect server.
        root: DDPM_ROOT of the worker.
        log: The worker's output, with that of its runs.
        mark: Of the worker's descendants, in their environment.
    """

    server: Server
    root: Path
    log: Path
    mark: str

    def await_end(self, run: str, limit_s: float = 150) -> dict[str, Any]:
        self.server.await_that(lambda: self.server.state(run) in ENDED, limit_s, self.log.read_text)
        return self.server.run(run)

    def start_training(self, seed: int, **run: object) -> str:
        """Start an endless run of a network of its own and wait for its first checkpoint; return its id."""
        before = self.checkpoints()
        number = self.server.start(endless(seed=seed) | {"run": IN_PROCESS["run"] | run}, NAME)

        def trained() -> bool:
            return bool(self.checkpoints() - before) and self.server.state(number) == "RUNNING"

        self.server.await_that(trained, 120, self.log.read_text)
        return number

    def checkpoints(self) -> set[Path]:
        return set(self.root.glob("train/*/checkpoints/*.json"))

    def engines(self) -> list[str]:
        return [line for line in everything_left(self.mark) if "prefect.engine" in line]


def documented() -> list[list[str]]:
    """The commands of docs/scheduling.md that set up a work pool, without the word prefect."""
    section = (TOP / "docs" / "scheduling.md").read_text().partition("## Work pools")[2]
    block = section.split("```")[1]
    return [shlex.split(line)[1:] for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """As docs/scheduling.md sets it up: a pool, the deployments of prefect.yaml, a worker that takes one run."""
    folder = tmp_path_factory.mktemp("pool")
    with prefect_api(str(folder / "server"), say=print, serve=True) as api:
        more = {"PREFECT_API_URL": api.url, "PYTHONPATH": str(TOP), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        environment = os.environ | more | {MARK: "pool", "DDPM_ROOT": str(folder / "root"), "COLUMNS": "200"}

        def prefect(*arguments: str) -> None:
            command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
            done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr

        *before, worker_start = documented()
        for arguments in before:
            prefect(*arguments)
        command = [sys.executable, "-m", "prefect", *worker_start]
        log = folder / "worker.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield Pool(server=Server(api.url), root=folder / "root", log=log, mark="pool")
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)


def test_the_deployments_are_those_of_the_file(pool: Pool) -> None:
    made = pool.server.deployment(NAME)
    assert made["parameters"] == {"preset": "digits"}
    assert made["tags"] == ["ddpm", "digits"]
    assert made["entrypoint"] == "flows.pipeline.pipeline"
    assert "Width of the network" in made["parameter_openapi_schema"]["properties"]["base_channels"]["description"]
    (nightly,) = pool.server.deployment("pool-photos")["schedules"]
    assert nightly["schedule"]["timezone"] == "Europe/Vienna"
    assert not nightly["active"]


def test_a_run_ends_sealed(pool: Pool) -> None:
    run = pool.await_end(pool.server.start(TINY_FORM | IN_PROCESS, NAME))
    assert run["state_type"] == "COMPLETED", pool.log.read_text()
    assert list(pool.root.glob("evaluate/*/manifests/*.json"))
    assert "result" in pool.server.artifacts(run["id"])
    automations = pool.server.post("/automations/filter", {})
    assert {one["name"] for one in automations} >= {"ddpm: run lost", "ddpm: run never began"}, "no `ddpm serve` did it"


def test_a_cancelled_run_saves_what_it_has(pool: Pool) -> None:
    run = pool.start_training(6)
    pool.server.set_state(run, "CANCELLING", "Cancelling")
    assert pool.await_end(run, 60)["state_type"] == "CANCELLED"
    pool.server.await_that(lambda: not pool.engines(), 30, pool.engines)
    kept = {f"{int(path.stem):,} are kept" for path in pool.checkpoints()}
    pool.server.await_line(run, *kept)


def test_a_run_over_its_time_saves_and_says_so(pool: Pool) -> None:
    run = pool.start_training(7, timeout=0.5)
    ended = pool.await_end(run)
    assert (ended["state_type"], ended["state_name"]) == ("FAILED", "TimedOut"), pool.log.read_text()
    message = ended["state"]["message"]
    assert "run: stopped at its time limit of 0.5 min; train keeps " in message
    assert "raise “Time limit (minutes)” below “More settings: run”" in message
    assert "\n" not in message
    assert pool.server.tasks(run)["train"] == "CANCELLED"
    assert "Traceback" not in "\n".join(pool.server.log(run))
    assert ended["run_count"] == 1, "nothing tries it again"


def test_a_killed_run_holds_nobody_up(pool: Pool) -> None:
    """The worker takes one run at a time; a slot of its own dies with the run, and so does the lease of the output."""
    run = pool.start_training(8)
    for process in Path("/proc").glob("[0-9]*"):
        line = (process / "cmdline").read_bytes() if (process / "cmdline").exists() else b""
        if b"prefect.engine" in line and f"{MARK}=pool".encode() in (process / "environ").read_bytes():
            os.kill(int(process.name), signal.SIGKILL)
    assert pool.await_end(run, 60)["state_type"] == "CRASHED"
    again = pool.await_end(pool.server.start(TINY_FORM | IN_PROCESS, NAME))
    assert again["state_type"] == "COMPLETED", "equal settings, so that it finds everything sealed"


def test_bad_images_are_not_tried_again(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = {"preset": "folder", "source": str(tmp_path), "until": "prepare"} | IN_PROCESS
    run = pool.await_end(pool.server.start(source, NAME))
    assert run["state_type"] == "FAILED"
    query = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    assert [task["run_count"] for task in pool.server.post("/task_runs/filter", query)] == [1]
    assert run["run_count"] == 1
