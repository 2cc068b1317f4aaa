"""`ddpm run` with Ray and Prefect on an S3 root: the digests of a local one, and a secret that stays secret."""

import re
import time
from pathlib import Path

import pytest

from infra.storage.open import open_store
from tests.e2e.processes import Command, settings
from tests.faults.proxy import Fault, fault_proxy
from tests.servers import BUCKET, SECRET_KEY, Server
from tests.tiny import TINY

ROOT = f"s3://{BUCKET}/whole/pipeline"
ARGUMENTS = ["run", "digits", *settings(*TINY, "evaluate.bpd_images=2", "train.images=640")]
CHECKPOINT = re.compile(r"/checkpoints/\d+\.json$")
DIGEST = re.compile(r"digest (\w+)$", re.MULTILINE)


@pytest.mark.slow
def test_a_run_on_s3_seals_what_a_local_one_does(
    seaweed: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = seaweed.environment() | {"XDG_STATE_HOME": str(tmp_path / "state")}
    digests = []
    for root in (ROOT, str(tmp_path / "local"), ROOT):
        command = Command([*ARGUMENTS, "--root", root], tmp_path / f"log{len(digests)}", **there)
        assert command.wait(400) == 0, command.text()
        digests.append(DIGEST.findall(command.text()))
        assert SECRET_KEY not in command.text()
        command.assert_nothing_left()
    assert len(digests[0]) == 4
    assert digests[0] == digests[1] == digests[2]
    assert command.text().count("found sealed") == 4
    verify = Command(["verify", ROOT], tmp_path / "verified", **there)
    assert verify.wait() == 0, verify.text()
    goals = len(re.findall(r"^whole +train/", verify.text(), re.MULTILINE))
    assert goals > 1, "each point on the way is sealed as the goal of a shorter run"
    assert verify.text().count("whole  ") == 8 + goals
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    hidden = {name.split("/")[0] for name in open_store(ROOT).list(".") if name.startswith(".")}
    assert hidden == {".recipes", ".costs"}, "no others of Ray Train or our own"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET_KEY.encode() in path.read_bytes()]


@pytest.mark.slow
def test_two_minutes_without_the_store_cost_a_training_nothing(seaweed: Server, tmp_path: Path) -> None:
    """From the third checkpoint on every connection breaks: it says so, waits, and ends with a local run's bytes."""
    there = seaweed.environment() | {"XDG_STATE_HOME": str(tmp_path / "state")}
    options = settings(*TINY, "train.images=64000", "train.checkpoint_images=1280", "train.watch_share=0")
    arguments = ["train", "digits", *options, "--in-process", "--no-tracking", "--root"]
    with fault_proxy(seaweed.url) as proxy:
        there["AWS_ENDPOINT_URL"] = proxy.url
        away = Command([*arguments, f"s3://{BUCKET}/away/pipeline"], tmp_path / "away", **there)
        away.await_that(lambda: sum(bool(CHECKPOINT.search(seen.path)) for seen in list(proxy.seen)) > 2)
        proxy.set(lambda *_: Fault("reset_before"))
        time.sleep(120)
        assert away.process.poll() is None, away.text()
        assert proxy.seen, "nobody asked for it meanwhile"
        proxy.set(lambda *_: None)
        assert away.wait(300) == 0, away.text()
    assert "is not saved yet" in away.text()
    local = Command([*arguments, str(tmp_path / "local")], tmp_path / "local.log")
    assert local.wait(300) == 0, local.text()
    assert DIGEST.findall(away.text()) == DIGEST.findall(local.text()) != []
