"""A served root: what its Prefect server says of runs, and which processes work on them."""

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.processes import MARK, Command

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A running `ddpm serve`."""

    url: str
    root: Path
    serving: Command

    def ask(self, path: str, body: Any = None, method: str = "") -> Any:
        """Call the API: GET without a body, else POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api{path}", data, {"Content-Type": "application/json"}, method=method or None
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def deployment(self) -> dict[str, Any]:
        """The deployment `digits`."""
        (found,) = self.ask("/deployments/filter", {"deployments": {"name": {"any_": ["digits"]}}})
        return found

    def run(self, number: str) -> dict[str, Any]:
        """One flow run."""
        return self.ask(f"/flow_runs/{number}")

    def runs(self) -> list[dict[str, Any]]:
        """All flow runs."""
        return self.ask("/flow_runs/filter", {})

    def tasks(self, number: str) -> list[tuple[str, str]]:
        """Name and state of each task run, those of earlier attempts too."""
        found = self.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [number]}}})
        return [(task["name"], task["state_name"]) for task in found]

    def log(self, number: str) -> list[str]:
        """The lines of a run's log."""
        which = {"logs": {"flow_run_id": {"any_": [number]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.ask("/logs/filter", which)]

    def progress(self, number: str, stage: str) -> float:
        """How far a stage is, in percent; 0 before it says so."""
        found = self.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [number]}}})
        return max((float(one["data"]) for one in found if one["key"] == f"{stage}-progress"), default=0.0)

    def await_that(self, what: Callable[[], T], limit_s: float) -> T:
        """Wait until something is true, while `ddpm serve` runs, and return it."""
        deadline = time.monotonic() + limit_s
        while not (found := what()):
            assert self.serving.process.poll() is None, self.serving.text()
            states = [f"{run['name']}: {run['state_name']}, {run['state']['message']}" for run in self.runs()]
            assert time.monotonic() < deadline, f"not within {limit_s} s\n{states}\n{self.serving.text()}"
            time.sleep(0.25)
        return found

    def await_state(self, number: str, state: str, limit_s: float) -> None:
        """Wait until a run is in a state; its log is shown if it never is, and at once if it failed."""
        deadline = time.monotonic() + limit_s
        while (found := self.run(number))["state_name"] != state:
            said = "\n".join([f"{found['state']}", *self.log(number), self.serving.text()])
            # Crashed is not the end: Prefect's runner calls it Cancelled a moment later, if it was cancelled.
            assert found["state_type"] not in ("COMPLETED", "FAILED"), f"not {state}: {said}"
            assert time.monotonic() < deadline, f"not {state} within {limit_s} s: {said}"
            time.sleep(0.25)

    def workers(self) -> set[int]:
        """Processes that run a flow or train for one: neither the server nor what Ray itself needs."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                ours = f"{MARK}={self.serving.mark}".encode() in (process / "environ").read_bytes()
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if ours and (b"prefect.engine" in command or b"prefect.flow_engine" in command or b"ray::Ray" in command):
                found.add(int(process.name))
        return found
