"""Two real trainers on one run, and one that was begun elsewhere: exit codes, and no byte overwritten."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.cli import run_command
from flows.nodes.devices import environment_of
from flows.nodes.environment import environment_here
from infra.outputs.manifest import parse_manifest, verify
from infra.storage.open import open_store
from tests.e2e.processes import Command, settings
from tests.tiny import TINY

# Long enough to meet a second run.
LONG = (*TINY, "train.images=192000", "train.checkpoint_images=640")
PLAIN = ["--in-process", "--no-tracking"]


def arguments(root: Path, *values: str) -> list[str]:
    return ["train", "digits", *settings(*values), "--root", str(root), *PLAIN]


@contextmanager
def training(root: Path, log: Path, *values: str) -> Iterator[Command]:
    """A trainer with a first checkpoint; ended at the end."""
    first = Command(arguments(root, *values), log)
    try:
        first.await_that(lambda: bool(list(root.glob("train/*/checkpoints/*.json"))))
        yield first
    finally:
        if first.process.poll() is None:
            first.process.kill()
            first.process.wait(60)


def test_a_second_trainer_waits_and_says_for_whom_or_exits_with_5(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    with training(root, tmp_path / "first.log", *LONG) as first:
        started = time.monotonic()
        assert run_command([*arguments(root, *LONG), "--no-wait"]) == 5
        assert time.monotonic() - started < 30, "a waiter would take over only after that"
        (line,) = capfd.readouterr().err.splitlines()
        assert f"process {first.process.pid}, is working on this" in line
        assert line.endswith("drop --no-wait, or run again when it has ended")
        second = Command(arguments(root, *LONG), tmp_path / "second.log")
        second.await_that(lambda: f"process {first.process.pid}, is working on this" in second.text())
        second.process.send_signal(signal.SIGINT)
        assert second.wait(60) == 130
        assert first.process.poll() is None


@pytest.mark.slow
def test_a_trainer_that_was_stopped_until_its_lease_expired_overwrites_nothing(tmp_path: Path) -> None:
    root, short = tmp_path / "root", (*TINY, "train.images=64000", "train.checkpoint_images=640")
    with training(root, tmp_path / "first.log", *short) as first:
        first.process.send_signal(signal.SIGSTOP)
        second = Command(arguments(root, *short), tmp_path / "second.log")
        assert second.wait(240) == 0, second.text()
        sealed = {path: path.read_bytes() for path in root.glob("train/*/snapshots/*")}
        sealed |= {path: path.read_bytes() for path in root.glob("train/*/manifests/*")}
        first.process.send_signal(signal.SIGCONT)
        assert first.wait(240) == 0, first.text()
        assert "another run took over this work" in first.text()
    assert {path: path.read_bytes() for path in sealed} == sealed
    (path,) = root.glob("train/*/manifests/images-64000.json")
    manifest = parse_manifest(path.read_bytes(), item=str(path))
    verify(open_store(str(root)), manifest)
    assert run_command([*arguments(root, *short), "--force"]) == 0
    (again,) = root.glob("train/*.1/manifests/images-64000.json")
    assert parse_manifest(again.read_bytes(), item="").digest == manifest.digest


def test_another_environment_goes_on_or_exits_with_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments(tmp_path, *TINY, "train.images=320")) == 0
    monkeypatch.setattr(
        "flows.stages.train.training.environment_of",
        lambda work, config, more: environment_of(work, config, {**more, "torch": "9.9"}),
    )
    capfd.readouterr()
    longer = arguments(tmp_path, *TINY, "train.images=640")
    assert run_command([*longer, "--strict-environment"]) == 5
    (line,) = capfd.readouterr().err.splitlines()
    assert f"torch: {environment_here('training')['torch']} there, 9.9 here" in line
    assert line.endswith("drop --strict-environment, finish it there, or run with --force to start afresh beside it")
    assert run_command(longer) == 0
    assert "train: goes on in another environment (torch: " in capfd.readouterr().out
    assert run_command([*longer, "--strict-environment"]) == 0, "what is sealed is used"
    assert [path.name for path in tmp_path.glob("train/*/environments/*")] == ["000001.json"]
