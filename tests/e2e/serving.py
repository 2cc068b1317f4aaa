"""A running `ddpm serve`, and its Prefect server asked as the pages ask it: by HTTP."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.processes import Command

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# What makes a run tiny, as a form or an API call says it.
TINY_FORM: dict[str, Any] = {
    "images": 1280,
    "batch_size": 64,
    "base_channels": 8,
    "samples": 24,
    "sampling_steps": 5,
    "bound_images": 16,
    "train": {"num_timesteps": 20, "beta_end": 0.3, "norm_groups": 4, "threads": 1, "dtype": "float32"},
    "sample": {"batch_size": 8, "dtype": "float32"},
    "evaluate": {"batch_size": 8, "extractor": "pixels"},
}
# The same, as the command line says it.
TINY_OPTIONS = (
    *(f"train.{name}={value}" for name, value in TINY_FORM["train"].items()),
    *(f"sample.{name}={value}" for name, value in TINY_FORM["sample"].items()),
    *(f"evaluate.{name}={value}" for name, value in TINY_FORM["evaluate"].items()),
    *("train.images=1280", "train.batch_size=64", "train.base_channels=8"),
    *("sample.count=24", "sample.num_steps=5", "evaluate.bpd_images=16"),
)
# Starts no Ray, which takes most of such a run's time.
IN_PROCESS = {"run": {"mode": "in-process"}}


def endless(**train: object) -> dict[str, Any]:
    """A training that ends only if it is stopped, with a checkpoint every few steps."""
    return TINY_FORM | {"images": 50_000_000, "train": TINY_FORM["train"] | {"checkpoint_images": 640} | train}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def request(url: str, body: object = None, method: str = "") -> Any:
    """One HTTP call with JSON both ways."""
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method or None)
    with urllib.request.urlopen(call, timeout=30) as reply:
        text = reply.read()
    return json.loads(text) if text else None


class Server:
    """A Prefect server's API."""

    def __init__(self, api: str) -> None:
        self.api = api

    def get(self, path: str) -> Any:
        return request(f"{self.api}{path}")

    def post(self, path: str, body: object, method: str = "POST") -> Any:
        return request(f"{self.api}{path}", body, method)

    def deployment(self, name: str = "digits") -> dict[str, Any]:
        (found,) = self.post("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return found

    def start(self, parameters: dict[str, Any], name: str = "digits") -> str:
        """Start a custom run; return its id."""
        number = self.deployment(name)["id"]
        return str(self.post(f"/deployments/{number}/create_flow_run", {"parameters": parameters})["id"])

    def run(self, run: str) -> dict[str, Any]:
        return self.get(f"/flow_runs/{run}")

    def state(self, run: str) -> str:
        return str(self.run(run)["state_type"])

    def set_state(self, run: str, kind: str, name: str, **details: object) -> None:
        body = {"state": {"type": kind, "name": name, "state_details": details}, "force": True}
        answer = self.post(f"/flow_runs/{run}/set_state", body)
        # Of a run that is suspended the server itself makes a cancelled one.
        assert answer["status"] == "ACCEPT" or (answer["state"] or {}).get("type") == "CANCELLED", answer

    def tasks(self, run: str) -> dict[str, str]:
        """The latest state of each task, by name."""
        found = self.post(
            "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        )
        return {task["name"]: task["state_type"] for task in found}

    def log(self, run: str) -> list[str]:
        query = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.post("/logs/filter", query)]

    def await_line(self, run: str, *words: str, limit_s: float = 30) -> None:
        """Wait until a line of a run's log has one of these words; Prefect sends lines later than states."""
        said = partial(self.log, run)
        self.await_that(lambda: any(word in line for word in words for line in said()), limit_s, said)

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        found = self.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {artifact["key"]: artifact for artifact in found}

    def await_that(self, ready: Callable[[], bool], limit_s: float, about: Callable[[], object]) -> float:
        """Wait until something is so, also while the server is away; return how long it took."""
        started = time.monotonic()
        while True:
            try:
                if ready():
                    return time.monotonic() - started
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            assert time.monotonic() - started < limit_s, f"not within {limit_s} s: {about()}"
            time.sleep(0.3)


class Serving:
    """`ddpm serve` of one root; started again on the same port with `again`."""

    def __init__(self, folder: Path, *options: str, port: int = 0, **environment: str) -> None:
        self.folder, self.root, self.port = folder, folder / "root", port or free_port()
        self.options, self.environment = options, environment
        self.server = Server(environment.get("PREFECT_API_URL") or f"http://127.0.0.1:{self.port}/api")
        self.again()

    def again(self) -> None:
        arguments = ["serve", "--root", str(self.root), "--port", str(self.port), *self.options]
        self.command = Command(arguments, self.folder / f"serve-{time.monotonic_ns()}.log", **self.environment)
        self.command.await_that(lambda: "stop with Ctrl-C" in self.text(), 120)

    def text(self) -> str:
        return self.command.text()

    def stop(self, number: int = signal.SIGINT, limit_s: float = 60) -> int:
        """Send a signal; return the exit code."""
        if self.command.process.poll() is None:
            self.command.process.send_signal(number)
        return self.command.wait(limit_s)

    def train(self, **train: object) -> str:
        """Start an endless run and wait until it trains; return its id."""
        run = self.server.start(endless(**train))
        self.await_training(run)
        return run

    def await_training(self, run: str, above: int = 0) -> None:
        """Wait until checkpoints beyond some images are there."""

        def trained() -> bool:
            seen = [int(path.stem) for path in self.root.glob("train/*/checkpoints/*.json")]
            return max(seen, default=-1) > above and self.server.state(run) == "RUNNING"

        self.server.await_that(trained, 300, self.text)

    def last_checkpoint(self) -> int:
        return max(int(path.stem) for path in self.root.glob("train/*/checkpoints/*.json"))

    def await_end(self, run: str, limit_s: float = 150) -> dict[str, Any]:
        self.server.await_that(lambda: self.server.state(run) in ENDED, limit_s, self.text)
        return self.server.run(run)
