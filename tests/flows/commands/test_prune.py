"""`ddpm prune`: shows, asks, removes; without a terminal or with a damaged record it removes nothing."""

import json
import os
import signal
import sys
import time
from io import StringIO
from pathlib import Path

import pytest

from flows.cli import run_command
from flows.cost import stage_cost
from flows.recipe.run import recipe_surroundings
from flows.recipe.settings import load_config
from flows.runtime.settings import RunSettings
from infra.outputs.costs import Costs
from infra.outputs.presence import at_work, removal, runs_at_work
from infra.storage.local_store import LocalStore
from tests.e2e.processes import settings
from tests.faults.leases import holder, never
from tests.flows.inventory.roots import make_run, record_costs, without_leases
from tests.scripts import python
from tests.tiny import TINY


class Terminal(StringIO):
    """Type as a person does."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A finished run and one that nothing refers to."""
    opened = LocalStore(tmp_path / "root")
    make_run(opened)
    make_run(opened, finish=False, rate=0.2)
    return opened


def prune(store: LocalStore, *options: str) -> int:
    return run_command(["prune", "--root", store.uri, *options])


@pytest.mark.parametrize(
    ("typed", "options", "removes", "words"),
    [
        (StringIO(""), (), False, "nothing was removed: there is no terminal to ask; --yes removes"),
        (Terminal("n\n"), (), False, "nothing was removed"),
        (Terminal(""), (), False, "nothing was removed"),
        (Terminal("y\n"), (), True, "removed "),
        (StringIO(""), ("--yes",), True, "removed "),
        (StringIO(""), ("--yes", "--older-than", "1"), False, "nothing to remove below "),
    ],
)
def test_it_removes_only_if_it_may(
    store: LocalStore,
    typed: StringIO,
    options: tuple[str, ...],
    removes: bool,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", typed)
    before = without_leases(store)
    assert prune(store, *options) == 0
    printed = capsys.readouterr().out
    assert words in printed
    assert (without_leases(store) != before) is removes
    if "--older-than" not in options:
        assert "sealed, and no finished" in printed
        assert " in all" in printed
    assert not (Path(store.uri) / "mlflow.db").exists(), "MLflow was not started"


def test_a_damaged_record_keeps_all_outputs_and_is_an_error(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.replace("reports/digits-1a2b3c4d/run.json", b"{")
    before = without_leases(store)
    assert prune(store, "--yes") == 6
    shown = capsys.readouterr()
    assert "reports/digits-1a2b3c4d/run.json" in shown.err
    assert "all outputs stay" in shown.err
    assert shown.err.count("\n") == 1
    assert without_leases(store) == before


def test_an_mlflow_that_is_away_keeps_sealed_outputs(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = without_leases(store)
    assert prune(store, "--yes") == 4
    shown = capsys.readouterr()
    assert "did not answer" in shown.err
    assert "stays " in shown.out
    assert without_leases(store) == before


def test_ages_are_by_the_stores_clock(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine whose clock is two days ahead takes nothing for old."""
    ahead_s = time.time() + 2 * 86400
    monkeypatch.setattr(time, "time", lambda: ahead_s)
    assert prune(store, "--yes", "--older-than", "1") == 0
    assert "nothing to remove below " in capsys.readouterr().out


KILLED = """
import os, signal, sys
from flows.cli import run_command
from flows.cost import stage_cost
from infra.storage.local_store import LocalStore
delete, left = LocalStore.delete, [5]
def deadly(store, name):
    if "lease" not in name:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    delete(store, name)
LocalStore.delete = deadly
run_command(["prune", "--yes", "--root", sys.argv[1]])
"""


def test_after_a_kill_runs_and_the_next_removal_go_on_at_once(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = without_leases(store)
    child = python(KILLED, store.uri)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert without_leases(store).keys() < before.keys()
    assert store.list(".leases/removal"), "nobody has released it"
    with at_work(store, holder(), on_wait=never):
        pass
    assert prune(store, "--yes") == 0
    assert "removed " in capsys.readouterr().out
    assert prune(store, "--yes") == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert store.list(".leases") == []


STOPPED = """
import os, signal, sys
from flows.cli import run_command
from flows.cost import stage_cost
from infra.outputs import lease
from infra.storage.local_store import LocalStore
lease._FRESH_S = 0.5
delete, left = LocalStore.delete, [2]
def stopping(store, name):
    if "lease" not in name:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
    delete(store, name)
LocalStore.delete = stopping
sys.exit(run_command(["prune", "--yes", "--root", sys.argv[1]]))
"""


def test_one_that_stood_still_until_a_run_took_it_for_ended_removes_nothing_more(store: LocalStore) -> None:
    """As on a laptop that slept: the run may have found any of the outputs meanwhile."""
    child = python(STOPPED, store.uri)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    with at_work(store, holder(), on_wait=lambda _: None, expiry_s=1):
        before = without_leases(store)
        child.send_signal(signal.SIGCONT)
        _, printed = child.communicate(timeout=60)
        assert child.returncode == 5, printed
        assert "stood still for so long that others took it for ended - run again" in printed
        assert printed.count("\n") == 1
        assert len(before) - len(without_leases(store)) == 1, "the deletion that it was in, and no other"
    assert store.list(".leases") == []


def test_a_run_without_waiting_ends_while_outputs_are_removed(
    store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pipeline, a stage of a job, and a score; each would rely on what it finds sealed."""
    plain = ["--root", store.uri, "--in-process", "--no-tracking", "--no-wait"]
    spec = tmp_path / "spec.json"
    run = {"root": store.uri, "mode": "in-process", "tracking": False, "wait": False}
    spec.write_text(
        json.dumps({"run": run, "config": load_config("digits", None, TINY).prepare.model_dump(mode="json")})
    )
    with removal(store, holder("prune"), on_wait=never):
        for command in (["prepare", "digits", *plain], ["stage", "prepare", str(spec)]):
            assert run_command(command) == 5
            shown = capsys.readouterr()
            assert "prune on host " in shown.err
            assert shown.err.count("\n") == 1


def test_a_run_at_work_is_seen(store: LocalStore) -> None:
    """From its first moment to its last, forced or not."""
    config = load_config("digits", None, TINY)
    for force in (False, True):
        settings = RunSettings(root=store.uri, mode="in-process", tracking=False, force=force, preset="digits")
        with recipe_surroundings(config, settings):
            assert [line.split()[0] for line in runs_at_work(store, holder(), on_wait=never)] == ["digits"]
        assert runs_at_work(store, holder(), on_wait=never) == []


def test_the_cost_of_an_output_goes_with_it_so_that_it_does_not_double(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Train, prune and run: the work that is made again has one attempt, and what stays keeps its own."""
    kept = make_run(store)
    made = make_run(store, finish=False, rate=0.2)
    for manifests in (kept, made):
        record_costs(store, manifests)
    assert prune(store) == 0
    gone = len({one.folder for one in made.values()} - {one.folder for one in kept.values()})
    assert f"with them go {gone} records of what they cost" in capsys.readouterr().out
    assert prune(store, "--yes") == 0
    record_costs(store, make_run(store, rate=0.2))
    for manifest in (*kept.values(), *made.values()):
        stage, _, key = manifest.folder.partition("/")
        cost = stage_cost(Costs(store=store, stage=stage, work=key).attempts(), manifest.folder, manifest.goal)
        assert cost is not None
        assert (cost.attempts, cost.wall_s) == (1, 60.0)


def test_a_stage_that_is_run_again_after_prune_has_one_attempt(tmp_path: Path) -> None:
    """The sequence itself, through the commands."""
    options = [*settings(*TINY), "--root", str(tmp_path), "--in-process", "--no-tracking"]
    assert run_command(["prepare", "digits", *options]) == 0
    assert run_command(["prune", "--root", str(tmp_path), "--yes"]) == 0
    assert not list(tmp_path.glob(".costs/*/*/*.json"))
    assert run_command(["prepare", "digits", *options]) == 0
    assert len(list(tmp_path.glob(".costs/*/*/*.json"))) == 1
