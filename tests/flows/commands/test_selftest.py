"""`ddpm selftest`: its table, its one line a failure and its exit codes."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from ddpm_core import gaussian
from ddpm_core.selftest import run
from ddpm_core.selftest.run import FAMILIES, run_selftest
from flows.cli import run_command

TOP = Path(__file__).parent.parent.parent.parent
QUICK = [(name, run) for name, run in FAMILIES if name in ("forward", "decoder", "frechet")]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_selftest", partial(run_selftest, families=QUICK))


def test_all_of_it_passes_here_in_less_than_a_minute() -> None:
    """As a user runs it: a process of its own, imports counted in, twice what it takes on slow cores."""
    program = "import sys; from flows.cli import main; sys.argv = ['ddpm', 'selftest', '--device', 'cpu']; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=TOP, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    *table, summary = done.stdout.splitlines()
    passed, _, total, *_ = summary.split()
    assert passed == total
    assert f"torch {torch.__version__}" in summary
    assert table[0].split() == ["check", "got", "expected", "ok"]
    assert {line.split("  ")[0] for line in table[1:]} == {name for name, _ in FAMILIES}
    assert all(line.rstrip().endswith("yes") for line in table[1:])


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("device", [["--device", "auto"], ["--device", "cpu"], []])
def test_a_pass(capsys: pytest.CaptureFixture[str], device: list[str]) -> None:
    assert run_command(["selftest", *device]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "NO" not in out
    assert " checks passed on " in out.splitlines()[-1]


@pytest.mark.usefixtures("_quick")
def test_a_failure_is_one_line_and_exit_6(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        gaussian, "normal_cdf", lambda x, form, cdf=gaussian.normal_cdf: cdf(x, gaussian.NormalCdf.EXACT)
    )
    assert run_command(["selftest", "--device", "cpu"]) == 6
    out, err = capsys.readouterr()
    assert err == (
        "ddpm: selftest: decoder: one point: L_0, tanh form of Phi, bits/dim: got 1.30537765556, expected 1.30566515 "
        "± 1e-08 - do not trust this installation's results; reinstall it with the versions of constraints.txt\n"
    )
    (row,) = [line for line in out.splitlines() if line.rstrip().endswith("NO")]
    assert row.startswith("decoder")
    checks = len(run_selftest(torch.device("cpu"), QUICK))
    assert out.splitlines()[-1].startswith(f"{checks - 1} of {checks} checks passed on ")


@pytest.mark.usefixtures("_quick")
def test_every_failure_has_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gaussian, "_HALF_BIN", 1 / 127.5)
    assert run_command(["selftest", "--device", "cpu"]) == 6
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert len(lines) == sum(line.rstrip().endswith("NO") for line in out.splitlines()) > 1
    assert all(line.startswith("ddpm: selftest: decoder: ") for line in lines)


@pytest.mark.usefixtures("_quick")
def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    assert run_command(["selftest", "--device", "cpu"]) == 0
    assert torch.get_num_threads() == before


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_command(["selftest", "--device", "cuda"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "ddpm: device: cuda was asked for and this machine has none - take --device=cpu\n")


def test_a_device_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["selftest", "--device", "tpu"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--device" in err
