"""Cancel on a run's page, in each stage: the run ends in time, nothing of Ray is left, and a new run goes on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import everything_left
from tests.e2e.serving import TINY_FORM, Serving

pytestmark = pytest.mark.slow

# Enough units in every stage that there is a middle to be cancelled in.
FORM: dict[str, Any] = TINY_FORM | {
    "images": 9_600,
    "samples": 640,
    "bound_images": 96,
    "prepare": {"unit_images": 40, "workers": 1},
    "train": TINY_FORM["train"] | {"checkpoint_images": 640},
    "evaluate": TINY_FORM["evaluate"] | {"batch_size": 2},
}
COMMITTED = {
    "prepare": "prepare/*/units/*.json",
    "train": "train/*/checkpoints/*.json",
    "sample": "sample/*/units/*.json",
    "evaluate": "bound/*/units/*.json",
}
LIMIT_S = 30


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One root, so that each run goes on from the one that was cancelled before it."""
    started = Serving(tmp_path_factory.mktemp("cancel"))
    yield started
    started.stop()


def soon(ready: Callable[[], bool], limit_s: float, about: Callable[[], object]) -> None:
    """Wait until something is so, and look so often that little happens after it."""
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, about()
        time.sleep(0.002)


def cancel(serving: Serving, run: str) -> None:
    """Do as the page's button does."""
    serving.server.set_state(run, "CANCELLING", "Cancelling")


def assert_cancelled(serving: Serving, run: str, stage: str) -> None:
    asked = time.monotonic()
    assert serving.await_end(run, LIMIT_S)["state_type"] == "CANCELLED", serving.text()

    def left() -> list[str]:
        return [line for line in everything_left(serving.command.mark) if "ray" in line or "prefect.engine" in line]

    serving.server.await_that(lambda: not left(), LIMIT_S - (time.monotonic() - asked), left)
    serving.server.await_that(
        lambda: serving.server.tasks(run).get(stage) == "CANCELLED", 15, lambda: serving.server.tasks(run)
    )
    assert "Traceback" not in "\n".join(serving.server.log(run))


@pytest.mark.parametrize("stage", COMMITTED)
def test_in_the_middle_of_a_stage(serving: Serving, stage: str) -> None:
    def units() -> int:
        return len(list(serving.root.glob(COMMITTED[stage])))

    before, run = units(), serving.server.start(FORM)
    soon(lambda: units() >= before + 2, 150, serving.text)
    cancel(serving, run)
    assert_cancelled(serving, run, stage)
    goal = "images-9600" if stage == "train" else "*"  # points on the way are sealed too
    assert not list(serving.root.glob(f"{stage}/*/manifests/{goal}.json")), "it was not over yet"


def test_in_the_middle_of_the_report(serving: Serving) -> None:
    """Its process stands still between two of its files until the runner has stopped it."""
    run = serving.server.start(FORM)
    soon(lambda: bool(list(serving.root.glob("reports/*/samples.png"))), 200, serving.text)
    (engine,) = [pid for pid, line in serving.command.processes() if "prefect.engine" in line]
    os.kill(engine, signal.SIGSTOP)
    assert not list(serving.root.glob("reports/*/run.json")), "it was not over yet"
    cancel(serving, run)
    soon(lambda: is_pending(engine, signal.SIGTERM), LIMIT_S, serving.text)
    os.kill(engine, signal.SIGCONT)
    assert_cancelled(serving, run, "report")


def is_pending(process: int, number: int) -> bool:
    """Whether a signal waits for a process that stands still."""
    status = Path(f"/proc/{process}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_after_all_that_the_same_run_ends_well(serving: Serving) -> None:
    run = serving.await_end(serving.server.start(FORM), 200)
    assert run["state_type"] == "COMPLETED", serving.text()
    (report,) = serving.root.glob("reports/*/report.html")
    assert report.parent.name == run["name"]
    assert (report.parent / "run.json").exists()
    assert set(serving.server.tasks(run["id"]).values()) == {"COMPLETED"}
