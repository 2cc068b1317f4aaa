"""A run that is stopped from outside: its process says so once, and ends with the server that started it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect import flow

from infra.errors import Interrupted
from infra.services.prefect.run.stops import SERVER_VARIABLE, RunAborted, RunPaused, RunUnreported, stops_passed_on
from tests.infra.services.prefect.gate import Gate

PARENT = """
import os, subprocess, sys, time
os.environ[{variable!r}] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), end="", flush=True)
time.sleep(60)
"""
CHILD = """
import os, time
from infra.services.prefect.run.stops import SERVER_VARIABLE, RunAborted, end_with_server
server = os.environ.pop(SERVER_VARIABLE)
end_with_server()
os.environ[SERVER_VARIABLE] = "1"
try:
    end_with_server()
except RunAborted as error:
    print(error, end="; ")
os.environ[SERVER_VARIABLE] = server
end_with_server()
print("works", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stop", [RunAborted("the flow run is Cancelled"), RunPaused("the flow run was paused")])
def test_a_stop_from_outside_is_passed_on_as_an_interrupt(stop: BaseException) -> None:
    stop.add_note("kept up to 512 images")
    with pytest.raises(Interrupted) as caught, stops_passed_on():
        raise stop
    assert caught.value.code == 130
    assert caught.value.__notes__ == [str(stop.args[0]), "kept up to 512 images"]


def test_finished_work_that_no_server_hears_of_is_no_failure(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def finished() -> None:
        gate.shut()
        raise RunUnreported("the run is finished, untold")

    with stops_passed_on():
        finished()
    assert caplog.messages.count("the run is finished, untold") == 1


def test_a_run_ends_with_its_server() -> None:
    """The one that started it; a run whose server is gone already does not begin."""
    program = PARENT.format(variable=SERVER_VARIABLE, child=CHILD)
    command = [sys.executable, "-c", program]
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[5], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, _, words = parent.stdout.readline().partition(" ")
    assert words == "ddpm serve has ended; works\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _alive(child):
        assert time.monotonic() < deadline, "the run outlived its server"
        time.sleep(0.05)


def _alive(child: str) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
