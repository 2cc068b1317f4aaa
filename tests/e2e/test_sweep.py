"""`ddpm sweep` as a user runs it: real runs that share what they can, stopped and resumed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.e2e.processes import Command, digests, settings
from tests.e2e.serving import IN_PROCESS, TINY_FORM, Serving, endless
from tests.flows.sessions import SMALL, put_images
from tests.tiny import TINY

pytestmark = pytest.mark.slow
GRID = ["--grid", "sample.num_steps=3,4", "--seeds", "2", "--name", "mine"]
BASE = ["digits", *settings(*TINY), "--in-process"]


def runs_of(root: Path) -> list[dict[str, object]]:
    return json.loads((root / "sweeps" / "mine" / "sweep.json").read_text())["runs"]


def test_runs_share_the_network_and_are_those_of_ddpm_run(tmp_path: Path) -> None:
    root = tmp_path / "root"
    sweep = Command(["sweep", *BASE, *GRID, "--at-once", "2", "--root", str(root)], tmp_path / "log")
    assert sweep.wait(300) == 0, sweep.text()
    sweep.assert_nothing_left()
    assert [run["state"] for run in runs_of(root)] == ["finished"] * 4
    assert len(list(root.glob("train/*"))) == 1
    assert len(list(root.glob("sample/*"))) == 4
    # 2 combinations with 2 seeds each: the last sampling of a combination is that of a single run.
    single = [*BASE, *settings("sample.num_steps=4", "sample.seed=1", "evaluate.seed=1")]
    alone = Command(["run", *single, "--root", str(tmp_path / "alone")], tmp_path / "log-alone")
    assert alone.wait() == 0, alone.text()
    found = digests(root)
    assert all(found[name] == digest for name, digest in digests(tmp_path / "alone").items())

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ddpm").experiment_id
    (top,) = client.search_runs([experiment], "tags.`ddpm.stage` = 'sweep'")
    below = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{top.info.run_id}'")
    assert {run.info.run_name for run in below} == {run["name"] for run in runs_of(root)}
    assert {run.info.status for run in (top, *below)} == {"FINISHED"}

    again = Command(["sweep", *BASE, *GRID, "--root", str(root)], tmp_path / "log-again")
    assert again.wait() == 0, again.text()
    assert "4 of them found finished" in again.text()
    assert "begun" not in again.text()
    assert digests(root) == found


def test_ctrl_c_stops_the_run_which_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "root"
    # Without an end of its own, and with its only checkpoint at that end.
    long = settings("train.images=640000", "train.checkpoint_images=640000", "train.watch_share=0")
    command = ["sweep", *BASE, *long, "--grid", "train.seed=0,1", "--name", "mine", "--no-tracking"]
    command += ["--root", str(root)]
    sweep = Command(command, tmp_path / "log")
    logs = root / "sweeps" / "mine" / "runs"
    sweep.await_that(lambda: bool(list(root.glob("train/*/history/*.json"))), 240)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.wait(120) == 130, sweep.text()
    sweep.assert_nothing_left()
    assert "stopping 1 run: waiting at most" in sweep.text()
    assert "run the same command to resume" in sweep.text()
    (log,) = logs.glob("*.log")
    assert "train keeps" in log.read_text()
    assert list(root.glob("train/*/checkpoints/*")), log.read_text()
    assert [run["state"] for run in runs_of(root)] == ["stopped", "not run yet"]


def test_a_run_that_fails_does_not_stop_the_other(tmp_path: Path) -> None:
    """One of two folders has a file that is no image, which only reading it shows."""
    root, seeds = tmp_path / "root", range(40)
    folders = [put_images(tmp_path / name, seeds) for name in ("damaged", "whole")]
    (folders[0] / "7.png").write_bytes(b"no image")
    grid = ["--grid", f"prepare.source={folders[0]},{folders[1]}", "--name", "mine", "--no-tracking"]
    sweep = Command(["sweep", *BASE, *settings(*SMALL), *grid, "--root", str(root)], tmp_path / "log")
    code = sweep.wait(300)
    assert code == 3, sweep.text()
    assert [run["state"] for run in runs_of(root)] == ["failed", "finished"], sweep.text()
    assert "7.png" in str(runs_of(root)[0]["line"])
    assert "1 of 2 runs did not finish" in sweep.text()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    started = Serving(tmp_path_factory.mktemp("serve"))
    yield started
    started.stop()
    started.command.assert_nothing_left(10)


def test_a_sweep_from_the_form_is_a_flow_run_per_run(serving: Serving) -> None:
    sweep = {"grid": ["sample.num_steps=3,4"], "by": "bits_per_dim_fixed_small"}
    number = serving.server.start(TINY_FORM | IN_PROCESS | {"name": "mine", "sweep": sweep})
    ended = serving.await_end(number, 300)
    assert (ended["state_type"], ended["name"]) == ("COMPLETED", "mine"), serving.server.log(number)
    assert [run["state"] for run in runs_of(serving.root)] == ["finished", "finished"]
    names = {str(run["name"]) for run in runs_of(serving.root)}
    found = serving.server.post("/flow_runs/filter", {"flow_runs": {"name": {"any_": sorted(names)}}})
    assert {run["name"]: run["state_type"] for run in found} == dict.fromkeys(names, "COMPLETED")
    table = serving.server.artifacts(number)["sweep"]["data"]
    assert "| sample.num_steps | runs | bits_per_dim_fixed_small |" in table
    serving.server.await_line(number, "2/2 sample.num_steps=4: finished after")


def test_cancelling_a_sweep_stops_its_run_which_saves(serving: Serving) -> None:
    sweep = {"grid": ["train.seed=5,6"]}
    number = serving.server.start(endless() | IN_PROCESS | {"name": "endless", "sweep": sweep})
    before = set(serving.root.glob("train/*/checkpoints/*.json"))

    def trains() -> bool:
        return bool(set(serving.root.glob("train/*/checkpoints/*.json")) - before)

    serving.server.await_that(trains, 120, serving.text)
    serving.server.set_state(number, "CANCELLING", "Cancelling")
    assert serving.await_end(number)["state_type"] == "CANCELLED"
    record = serving.root / "sweeps" / "endless"
    (log,) = (record / "runs").glob("*.log")
    serving.server.await_that(lambda: "train keeps" in log.read_text(), 60, log.read_text)
    assert [run["state"] for run in json.loads((record / "sweep.json").read_text())["runs"]] == [
        "stopped",
        "not run yet",
    ]
