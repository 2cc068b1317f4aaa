"""A served root: what its Prefect server says of runs, and which processes work on them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.e2e.processes import MARK, Command
from tests.e2e.serving import Server

T = TypeVar("T")


class Served(Server):
    """A running `ddpm serve`, with pages."""

    def __init__(self, url: str, root: Path, serving: Command) -> None:
        super().__init__(f"{url}/api")
        self.url, self.root, self.serving = url, root, serving

    def attempts(self, run: str) -> list[tuple[str, str]]:
        """Name and state of each task run, those of earlier attempts too."""
        found = self.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return [(task["name"], task["state_name"]) for task in found]

    def history(self, run: str) -> list[str]:
        """The states that a run was in."""
        return [state["name"] for state in self.get(f"/flow_run_states/?flow_run_id={run}")]

    def progress(self, number: str, stage: str) -> float:
        """The progress of a stage in percent; 0 before it reports any."""
        shown = self.artifacts(number).get(f"{stage}-progress")
        return float(shown["data"]) if shown else 0.0

    def until(self, what: Callable[[], T], limit_s: float) -> T:
        """Wait until something is true, while `ddpm serve` runs, and return it."""
        deadline = time.monotonic() + limit_s
        while not (found := what()):
            assert self.serving.process.poll() is None, self.serving.text()
            assert time.monotonic() < deadline, f"not within {limit_s} s\n{self.serving.text()}"
            time.sleep(0.25)
        return found

    def await_state(self, number: str, state: str, limit_s: float) -> None:
        """Wait until a run is in a state; its log is shown if it never is, and at once if it failed."""
        deadline = time.monotonic() + limit_s
        while (found := self.run(number))["state_name"] != state:
            said = "\n".join([f"{found['state']}", *self.log(number), self.serving.text()])
            assert found["state_type"] not in ("COMPLETED", "FAILED", "CRASHED"), f"not {state}: {said}"
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
