"""Checks side by side, each ended at its limit, all ended with the command."""

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from flows.doctor.check import Check, Subject
from flows.doctor.examination import examine
from flows.doctor.finding import Level
from flows.doctor.table import CHECKS

BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture
def hole(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that takes connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(sys.modules[__name__], "_kept", listener, raising=False)
    return f"127.0.0.1:{listener.getsockname()[1]}"


def limited(name: str, limit_s: float) -> Check:
    check = BY_NAME[name]
    return Check(name=name, about=check.about, run=check.run, limit_s=limit_s)


def test_a_check_that_hangs_is_ended_and_the_others_are_not(
    hole: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{hole}")
    waits: list[list[str]] = []
    began = time.monotonic()
    checks = [limited("mlflow", 1.0), BY_NAME["limits"], BY_NAME["folders"]]
    found = list(examine(checks, Subject(root=str(tmp_path)), on_wait=waits.append))
    assert time.monotonic() - began < 9
    assert [one.check for findings in found for one in findings][:2] == ["mlflow", "limits"]
    ((hung,), *others) = found
    assert (hung.exit_code, hung.cause) == (4, "no answer in 1 s")
    assert all(one.level is not Level.WRONG for findings in others for one in findings)
    assert sorted(waits[0]) == ["folders", "limits", "mlflow"]
    assert all(set(later) < set(earlier) for earlier, later in pairwise(waits)), "each line names what is waited for"
    assert waits[-1] == []


def test_a_process_that_dies_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By a module of its own that ends it while it loads."""
    (tmp_path / "sitecustomize.py").write_text("import os\nif 'flows.doctor.child' in os.sys.orig_argv: os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    ((one,),) = examine([BY_NAME["limits"]], Subject(root="."), on_wait=lambda _: None)
    assert (one.exit_code, one.cause) == (1, "its process ended without an answer (code 7)")


def test_at_most_so_many_at_a_time(tmp_path: Path) -> None:
    waits: list[list[str]] = []
    checks = [BY_NAME[name] for name in ("limits", "folders", "machine")]
    list(examine(checks, Subject(root=str(tmp_path)), on_wait=waits.append, at_a_time=1))
    assert max(map(len, waits)) == 1


def test_ctrl_c_ends_the_processes_of_the_checks(hole: str, tmp_path: Path) -> None:
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"http://{hole}", "DDPM_TEST_MARK": tmp_path.name}
    command = [sys.executable, "-c", "from flows.cli import main; main()", "doctor", "--only", "mlflow"]
    doctor = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert doctor.stderr is not None
    end = time.monotonic() + 20
    while len(_marked(tmp_path.name)) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    doctor.send_signal(signal.SIGINT)
    assert doctor.wait(10) == 130
    assert "interrupted" in doctor.stderr.read()
    assert _marked(tmp_path.name) == []


def _marked(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"DDPM_TEST_MARK={mark}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found
