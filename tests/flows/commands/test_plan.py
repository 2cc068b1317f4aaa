"""`ddpm plan`: a table or JSON, before anything starts."""

import json
import math
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import run_command
from flows.commands.plan import expected_text, why_text
from flows.recipe.expectation import Expectation
from flows.recipe.forecast import StageForecast
from infra.storage.s3_store import S3Store
from tests.conftest import TinyRun
from tests.e2e.processes import settings
from tests.scripts import python
from tests.servers import BUCKET, Server
from tests.tiny import TINY

# A test on a machine under load measures the load; the quickest of these is nearest to the truth.
_TRIES = 12


def test_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    more = ("prepare.workers=0", "train.channel_mults=[1]", "train.attention_resolutions=[8]")
    arguments = [*settings(*TINY, *more), "--root", str(root)]
    assert run_command(["plan", "digits", *arguments, "--name", "mine"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("run mine-")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "would run: 1,797 images" in lines["prepare"]
    assert "as many workers as fit, each 1 CPU" in lines["prepare"]
    assert "1 x 1 CPU, 1 GPU if there is one" in lines["train"]
    assert "not known: no such stage has run here" in lines["train"]
    assert lines["there:"].startswith("there: this machine, ")
    assert not root.exists()


def test_measurements_that_were_not_read_are_said() -> None:
    known = Expectation(seconds=1.0, bytes=0, run="x", unlike={"seed": (1, 0)})
    cut = StageForecast(stage="train", state="would run", why="it was begun", unread=2000, expected=known)
    remark = "expected as measured where train.seed was 1; 2,000 older measurements were not read"
    assert why_text(cut) == f"it was begun ({remark})"
    assert "among the measurements read" in expected_text(replace(cut, expected=None))
    assert why_text(replace(cut, unread=0, expected=None)) == "it was begun"


def test_json(tiny_run: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*settings(*TINY, "sample.count=40"), "--root", str(tiny_run.root), "--in-process"]
    assert run_command(["plan", "digits", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["state"] for stage in found["stages"]] == ["sealed", "sealed", "goes on", "waits", "waits"]
    assert found["stages"][2]["asks"] == {"workers": 1, "cpus_per_worker": 1, "device": "auto"}
    assert found["there"]["place"] == "this machine"
    assert found["has_work"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["digits", "--set", "train.images=0"], 2, "train.images: input should be greater than or equal to 1"),
        (["digits", "--set", "train.imagse=1"], 2, "did you mean images?"),
        (["digit"], 2, "did you mean digits?"),
        (["folder"], 3, "prepare.source: is not set"),
        (["folder", "--set", "prepare.source=nowhere"], 3, "nowhere"),
    ],
)
def test_what_a_run_refuses(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["plan", *arguments]) == code
    planned = capsys.readouterr().err
    assert line in planned
    assert not list(tmp_path.iterdir())
    assert run_command(["prepare", *arguments, "--in-process", "--no-tracking"]) == code
    assert capsys.readouterr().err == planned


@pytest.mark.parametrize("more", [(), ("--in-process",)])
def test_a_ray_client_address_is_refused_as_a_run_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    arguments = ["digits", "--root", str(tmp_path / "root"), "--no-tracking", *more]
    assert run_command(["plan", *arguments]) == 2
    planned = capsys.readouterr().err
    assert "Ray Client connections break during long work" in planned
    assert not (tmp_path / "root").exists()
    assert run_command(["prepare", *arguments]) == 2
    assert capsys.readouterr().err == planned


@pytest.mark.parametrize(("server", "line"), [("", "is not set"), ("head:8265", "not the address of a jobs server")])
def test_an_address_of_no_jobs_server_is_refused_as_a_run_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: str, line: str
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server)
    arguments = ["digits", "--root", str(tmp_path / "root"), "--no-tracking", "--execution", "job"]
    assert run_command(["plan", *arguments]) == 2
    planned = capsys.readouterr().err
    assert line in planned
    assert not (tmp_path / "root").exists()
    assert run_command(["prepare", *arguments]) == 2
    assert capsys.readouterr().err == planned


def test_a_run_whose_stages_are_jobs_is_planned_whatever_the_address_of_ray(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a run connects to the jobs server alone."""
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    jobs = ["--execution", "job", "--ray-jobs", "http://head:8265"]
    assert run_command(["plan", "digits", "--root", str(tmp_path / "root"), *jobs]) == 0
    assert "there: not asked, as a jobs server does not tell" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr("flows.commands.plan._CLUSTER_LIMIT_S", 0.2)
    assert run_command(["plan", "digits", "--root", str(tmp_path)]) == 0
    assert "there: not asked, as the cluster at 127.0.0.1:1 does not answer within" in capsys.readouterr().out


def test_a_sealed_run_is_found_without_ray_prefect_and_mlflow(tiny_run: TinyRun) -> None:
    arguments = ["plan", "digits", *settings(*TINY), "--root", str(tiny_run.root)]
    process = python(
        f"import sys\nfrom flows.cli import run_command\nassert run_command({arguments!r}) == 0\n"
        "print(*sorted({'ray', 'prefect', 'mlflow', 'pandas', 'matplotlib'} & sys.modules.keys()))"
    )
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    *_, last = out.splitlines()
    assert not last


@pytest.mark.slow
@pytest.mark.parametrize("on_s3", [False, True], ids=["disk", "S3"])
def test_a_sealed_run_is_planned_within_five_seconds(
    on_s3: bool, tiny_run: TinyRun, moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start of the process to its end; tried again for a while, because other processes may work beside."""
    root = str(tiny_run.root)
    if on_s3:
        for name, value in moto.environment().items():
            monkeypatch.setenv(name, value)
        store = S3Store(BUCKET, f"plan/{uuid.uuid4().hex}")
        for name in tiny_run.store.list("."):
            store.put_if_absent(name, tiny_run.store.read(name))
        root = store.uri
    arguments = ["plan", "digits", *settings(*TINY), "--root", root, "--json"]
    seconds: list[float] = []
    while len(seconds) < _TRIES and min(seconds, default=math.inf) >= 5:
        began_s = time.monotonic()
        process = python("from flows.cli import main\nmain()", *arguments)
        out, errors = process.communicate(timeout=60)
        seconds.append(time.monotonic() - began_s)
        assert process.returncode == 0, errors
        assert [stage["state"] for stage in json.loads(out)["stages"]][:4] == ["sealed"] * 4
    assert min(seconds) < 5, seconds
