"""A driver killed at any stage goes on from what was committed and ends with an undisturbed run's digests."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.run import list_runs, open_run
from tests.e2e.processes import Command, digests, settings
from tests.tiny import TINY

pytestmark = pytest.mark.slow

# Enough units in every stage that there is a middle to be killed in.
LONGER = (
    *TINY,
    "prepare.unit_images=40",
    "prepare.workers=1",
    "train.images=9600",
    "train.checkpoint_images=640",
    "sample.count=640",
    "evaluate.bpd_images=96",
    "evaluate.batch_size=2",
)
ARGUMENTS = ["digits", *settings(*LONGER)]


def some(root: Path, pattern: str, count: int = 2) -> Callable[[], bool]:
    return lambda: len(list(root.glob(pattern))) >= count


def test_killed_in_every_stage(tmp_path: Path) -> None:
    undisturbed, root = tmp_path / "undisturbed", tmp_path / "killed"
    straight = Command(
        ["evaluate", *ARGUMENTS, "--root", str(undisturbed), "--in-process", "--no-tracking"], tmp_path / "u"
    )
    assert straight.wait() == 0, straight.text()

    stages = {
        "prepare": ("evaluate", "prepare/*/units/*.json"),
        "train": ("run", "train/*/checkpoints/*.json"),
        "sample": ("evaluate", "sample/*/units/*.json"),
        "evaluate": ("evaluate", "bound/*/units/*.json"),
    }
    for stage, (command, committed) in stages.items():
        running = Command([command, *ARGUMENTS, "--root", str(root)], tmp_path / stage)
        assert running.send_when(some(root, committed), signal.SIGKILL) == -signal.SIGKILL, running.text()
        goal = "images-9600" if stage == "train" else "*"  # points on the way are sealed too
        assert not list(root.glob(f"{stage}/*/manifests/{goal}.json")), f"{stage} was sealed before it was killed"
        running.assert_nothing_left()

    last = Command(["run", *ARGUMENTS, "--root", str(root)], tmp_path / "last")
    assert last.wait() == 0, last.text()
    assert digests(root) == digests(undisturbed)
    points = len(list(root.glob("train/*/manifests/*.json"))) - 1
    assert points > 0
    assert len(digests(root)) == 10 + points, "six of the ten are what the figures rest on"
    last.assert_nothing_left()
    (name,) = list_runs(root)
    costs = {stage: (cost.attempts, cost.at_least) for stage, cost in open_run(name, root).costs.items()}
    assert costs == dict.fromkeys(stages, (2, True)), "of the killed attempts the last record is known"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: int, code: int) -> None:
    root = tmp_path / "root"
    running = Command(["evaluate", *ARGUMENTS, "--root", str(root), "--no-tracking"], tmp_path / "log")
    assert running.send_when(some(root, "sample/*/units/*.json"), number) == code, running.text()
    last = r"ddpm: interrupted; sample keeps [\d,]+ of [\d,]+ images; run the same command to resume\n$"
    assert re.search(last, running.text()), running.text()
    assert "Traceback" not in running.text()
    running.assert_nothing_left()
