"""Stages as jobs of a real cluster of two nodes, with its jobs server and its token."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TinyRun
from tests.e2e.job_cluster import JobCluster, job_cluster
from tests.e2e.processes import Command, digests, settings
from tests.faults.proxy import Fault, fault_proxy
from tests.flows.sessions import tracked_runs
from tests.tiny import TINY

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the reaper reads /proc")]

LONG = settings(*TINY, "train.images=6400000", "train.checkpoint_images=640", "train.watch_share=0")
LIMIT_S = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobCluster]:
    with job_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def ddpm(cluster: JobCluster, tmp_path: Path) -> Callable[..., Command]:
    """Starts `ddpm` with its stages as jobs, by default with the cluster's token and below the test's own root."""
    count = iter(range(100))

    def start(*arguments: str, url: str = cluster.url, **environment: str) -> Command:
        as_jobs = ["--execution", "job", "--ray-jobs", url, "--root", str(tmp_path / "root")]
        return Command([*arguments, *as_jobs], tmp_path / f"log-{next(count)}", **cluster.token | environment)

    return start


def kept(root: Path) -> int:
    """The number of images of the last checkpoint."""
    found = [int(path.stem) for path in root.glob("train/*/checkpoints/*.json")]
    return max(found, default=0)


def test_the_pipeline_as_jobs_is_the_pipeline(
    ddpm: Callable[..., Command], cluster: JobCluster, tiny_run: TinyRun, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    run = ddpm("run", "digits", *settings(*TINY))
    assert run.wait(LIMIT_S) == 0, run.text()
    assert digests(root) == digests(tiny_run.root)
    for stage in ("prepare", "train", "sample", "evaluate"):
        (job,) = cluster.jobs(f"ddpm-{stage}-")
        assert f"{stage} started as job {job['submission_id']}" in run.text()
        assert (job["status"], job["driver_exit_code"]) == ("SUCCEEDED", 0)
        assert cluster.token["RAY_AUTH_TOKEN"] not in str(job), "no credentials in what a dashboard shows"
        (tracked,) = tracked_runs(root, stage).values()
        assert tracked.info.status == "FINISHED"
    again = ddpm("run", "digits", *settings(*TINY), url="http://127.0.0.1:1")
    assert again.wait(LIMIT_S) == 0, again.text()
    assert again.text().count("found sealed") == 4, "a run without work asks no cluster"


def test_a_killed_run_finds_its_job_and_an_interrupt_stops_it_with_its_work_saved(
    ddpm: Callable[..., Command], cluster: JobCluster, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    known = {job["submission_id"] for job in cluster.jobs("ddpm-train-")}

    def trainings() -> dict[str, str]:
        jobs = cluster.jobs("ddpm-train-")
        return {job["submission_id"]: job["status"] for job in jobs if job["submission_id"] not in known}

    killed = ddpm("train", "digits", *LONG)
    killed.await_that(lambda: kept(root) > 0, LIMIT_S)
    killed.process.send_signal(signal.SIGKILL)
    killed.wait()
    (name,) = trainings()
    before = kept(root)

    found = ddpm("run", "digits", *LONG)  # with Prefect
    found.await_that(lambda: f"train found at work: job {name}" in found.text() and kept(root) > before, LIMIT_S)
    assert trainings() == {name: "RUNNING"}
    assert found.send_when(lambda: True, signal.SIGTERM) == 143, found.text()
    assert trainings() == {name: "STOPPED"}
    images = int(re.findall(r"interrupted; train keeps ([\d,]+) of 6,400,000 images", found.text())[0].replace(",", ""))
    assert images == kept(root) > before
    assert f"stopping the job {name}; it has 25 s to save its work" in found.text()

    resumed = ddpm("train", "digits", *LONG)
    second = f"{name.removesuffix('-1')}-2"
    resumed.await_that(lambda: f"train resumed at {images:,} of 6,400,000 images" in resumed.text(), LIMIT_S)
    assert f"train started as job {second}" in resumed.text()
    assert resumed.send_when(lambda: True, signal.SIGINT) == 130, resumed.text()
    assert trainings() == {name: "STOPPED", second: "STOPPED"}
    resumed.assert_nothing_left()


def test_a_jobs_server_that_is_away_is_waited_for_and_left_with_the_job_at_work(
    ddpm: Callable[..., Command], cluster: JobCluster, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    with fault_proxy(cluster.url) as proxy:
        run = ddpm("train", "digits", *LONG, "--patience", "0.2", url=proxy.url)
        run.await_that(lambda: kept(root) > 0, LIMIT_S)
        before = kept(root)
        proxy.set(lambda number, seen: Fault("reset_before") if number < 2 else None)
        run.await_that(lambda: len(proxy.seen) > 4, LIMIT_S)
        assert run.process.poll() is None
        assert f"the jobs server {proxy.url} does not answer" in run.text()
        proxy.set(lambda number, seen: Fault("reset_before"))
        assert run.wait(60) == 7, run.text()
        assert re.search(r"did not answer for 0.2 min \(.*\) - the same command finds a job that is still", run.text())
        proxy.set(lambda number, seen: None)
        found = ddpm("train", "digits", *LONG, url=proxy.url)  # a job is one of a jobs server
        found.await_that(lambda: "train found at work: job" in found.text() and kept(root) > before, LIMIT_S)
        assert found.send_when(lambda: True, signal.SIGTERM) == 143, found.text()


RUN = "from flows.cli import main; main()"
WRONG_RAY = "import ray; ray.__version__ = '2.59.1'"
WRONG_CODE = "from dataclasses import replace; from flows.runtime import job; own = job.own_code(); "
WRONG_CODE += "job.own_code = lambda: replace(own, release='9.9.9')"


def test_refusals_are_one_line_before_any_work(cluster: JobCluster, tmp_path: Path) -> None:
    arguments = ["prepare", "digits", *settings(*TINY), "--root", str(tmp_path / "root"), "--execution", "job"]

    def refusal(code: int, url: str = cluster.url, patch: str = "", **environment: str) -> str:
        program = [sys.executable, "-c", f"{patch}\n{RUN}", *arguments, "--ray-jobs", url]
        variables = os.environ | cluster.token | environment
        done = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == code, done.stderr
        assert not (tmp_path / "root" / "prepare").exists()
        return done.stderr.splitlines()[-1]

    server = f"ddpm: prepare: jobs server {cluster.url}:"
    how = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token"
    assert refusal(2, RAY_AUTH_MODE="disabled") == f"{server} wants a token - {how}"
    assert refusal(2, RAY_AUTH_TOKEN="0" * 64) == f"{server} refuses our token - {how}"
    assert "http://127.0.0.1:1: does not answer ([Errno 111] Connection refused)" in refusal(7, "http://127.0.0.1:1")
    assert "runs Ray 2.60" in refusal(2, patch=WRONG_RAY)
    assert "and this is Ray 2.59.1 - install the same release" in refusal(2, patch=WRONG_RAY)
    assert ": has other code than this run (ddpm-flows " in refusal(2, patch=WRONG_CODE)
