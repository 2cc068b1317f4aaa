"""The stop of a job whose run is interrupted, by Ray's own client in front of a scripted server."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from infra.compute import jobs_stop as module
from infra.compute.job import Job
from infra.compute.jobs import Jobs
from infra.compute.jobs_client import visit
from infra.errors import ConfigError, Interrupted, ResourceError
from tests.infra.compute.jobs_server import NAME, JobsServer, Noted, ScriptedJob, command, follow, interrupt, start


def test_an_interrupt_stops_the_job_and_waits_for_its_end(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    server.next = ScriptedJob(["RUNNING"])
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()) as job:
        jobs.follow(job, on_line=said.append, on_poll=interrupt)
    assert server.jobs[job.id].states == ["STOPPED"]
    assert said == [f"stopping the job {NAME}-1; it has 25 s to save its work"]


def test_an_interrupt_leaves_a_job_that_others_follow(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    server.next = ScriptedJob(["RUNNING"])
    followers = Noted("digits-1a on host h, process 7, is working on this")
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, followers) as job:
        jobs.follow(job, on_line=said.append, on_poll=interrupt)
    assert server.jobs[job.id].states == ["RUNNING"]
    assert followers.steps == [("join", job.id), ("leave", job.id)]
    (line,) = said
    assert line == f"the job {job.id} goes on, because another run follows it: {followers.others}"


def test_an_interrupt_right_after_the_start_stops_the_job_too(server: JobsServer, jobs: Jobs) -> None:
    """The answer to the submission, or the first line about the job, is not there yet."""
    server.next = ScriptedJob(["RUNNING"])
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()):
        raise Interrupted(143)
    assert server.jobs[f"{NAME}-1"].states == ["STOPPED"]

    server.next, server.loses = ScriptedJob(["RUNNING"]), True
    jobs.say = lambda line: interrupt() if "does not answer" in line else None
    with pytest.raises(Interrupted):
        start(jobs)
    assert server.jobs[f"{NAME}-2"].states == ["STOPPED"]


def stop_requests(server: JobsServer) -> int:
    return sum(path.endswith("/stop") for _, path in server.requests)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the bounds of a stop."""
    for name, seconds in {"STOP_S": 0.1, "WAIT_S": 0.2, "ANSWER_S": 0.3}.items():
        monkeypatch.setattr(module, name, seconds)


def interrupt_start(server: JobsServer, jobs: Jobs, on_stop: Callable[[], None]) -> None:
    """Interrupt a run while its request to start a job is under way; the job is not there yet."""

    def fate(method: str, path: str) -> int | None:
        if path.endswith("/stop"):
            on_stop()
        return 503 if method == "POST" and path == "/api/jobs/" else None

    server.fate, say = fate, jobs.say
    jobs.say = lambda line: interrupt() if "does not answer" in line else say(line)
    with pytest.raises(Interrupted):
        start(jobs)


def test_a_job_that_appears_after_the_interrupt_is_stopped(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    def appear_at_the_third() -> None:
        if stop_requests(server) == 3:
            server.jobs[f"{NAME}-1"] = ScriptedJob(["PENDING"], unready=2)

    interrupt_start(server, jobs, appear_at_the_third)
    assert server.jobs[f"{NAME}-1"].states == ["STOPPED"]
    assert stop_requests(server) == 5, "two before it was there, and two before it had a process"
    assert said == [
        f"the job {NAME}-1 is not there yet; asking for 10 s at most",
        f"the job {NAME}-1 has no process yet; asking for 10 s at most",
        f"stopping the job {NAME}-1; it has 25 s to save its work",
    ]


@pytest.mark.usefixtures("hasty")
def test_a_job_that_does_not_appear_is_left_with_the_command_that_stops_it(
    server: JobsServer, jobs: Jobs, said: list[str]
) -> None:
    interrupt_start(server, jobs, lambda: None)
    how = f"if it works on, `ray job stop --address {server.url} {NAME}-1` stops it"
    assert said[-1] == f"the job {NAME}-1 is not there yet; {how}"


def test_a_job_that_went_with_its_cluster_is_not_waited_for(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    def lose() -> None:
        server.jobs.clear()
        interrupt()

    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()):
        lose()
    assert said == [f"the job {NAME}-1 is gone with its cluster"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (500, "may not have stopped (status code 500)"),
        (200, "was asked to stop; Ray ends it within 0.1 s"),
    ],
)
def test_a_job_that_does_not_stop_is_left_with_a_line(
    server: JobsServer, jobs: Jobs, said: list[str], answer: int, line: str
) -> None:
    server.next = ScriptedJob(["RUNNING"], after_stop=["RUNNING"])
    server.fate = lambda method, path: 500 if path.endswith("/stop") and answer == 500 else None
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()) as job:
        jobs.follow(job, on_line=said.append, on_poll=interrupt)
    how = f"if it works on, `ray job stop --address {server.url} {NAME}-1` stops it"
    assert said[-1] == f"the job {NAME}-1 {line}; {how}"


def test_a_stop_ends_before_prefect_kills_its_process(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    """The time that the store takes to tell who follows counts; Ray ends the job without us."""
    now_s = [0.0]

    class Slow(Noted):
        def leave(self, job: Job) -> str:
            now_s[0] += 3
            return super().leave(job)

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    jobs.clock, jobs.sleep = lambda: now_s[0], sleep
    server.next = ScriptedJob(["RUNNING"], after_stop=["RUNNING"])
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Slow()):
        interrupt()
    assert 20 < now_s[0] < 23
    assert said[-1].startswith(f"the job {NAME}-1 was asked to stop; Ray ends it within 25 s; ")


def test_a_stop_that_was_taken_is_remembered(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    """The look at the job right after it may fail."""
    server.next, faults = ScriptedJob(["RUNNING"], after_stop=["RUNNING", "STOPPED"]), [503]
    server.fate = lambda method, path: faults.pop() if method == "GET" and stop_requests(server) and faults else None
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()):
        interrupt()
    assert (faults, stop_requests(server)) == ([], 1)
    assert said == [f"stopping the job {NAME}-1; it has 25 s to save its work"]


@pytest.mark.usefixtures("hasty")
def test_no_line_shows_the_password_of_an_address(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    jobs.address = server.url.replace("//", "//user:canary@")
    jobs.patience_s = 0.05
    server.next = ScriptedJob(["RUNNING"], after_stop=["RUNNING"])
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()):
        interrupt()
    assert f"`ray job stop --address {server.url} {NAME}-1`" in said[-1]
    server.fate = lambda *_: 503
    with pytest.raises(ResourceError) as away:
        start(jobs)
    server.fate, server.jobs = lambda method, _: 422 if method == "POST" else None, {}
    with pytest.raises(ResourceError) as refused:
        start(jobs)
    server.version = "2.1.0"
    with pytest.raises(ConfigError) as other:
        visit(jobs.address)
    server.token = "secret"
    with pytest.raises(ConfigError) as wanted:
        visit(jobs.address)
    texts = [*said, *(str(error.value) for error in (away, refused, other, wanted))]
    assert sum(server.url in text for text in texts) == 6
    assert "canary" not in "".join(texts)


def test_a_stop_that_fails_once_is_asked_for_again(server: JobsServer, jobs: Jobs) -> None:
    server.next, faults = ScriptedJob(["RUNNING"]), [500, 503]
    server.fate = lambda method, path: faults.pop() if path.endswith("/stop") and faults else None
    with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()) as job:
        interrupt()
    assert server.jobs[job.id].states == ["STOPPED"]


@pytest.mark.usefixtures("hasty")
def test_a_signal_leaves_a_wait_for_a_server(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    jobs.patience_s, jobs.sleep = 600, time.sleep
    server.fate = lambda method, path: 503 if server.jobs else None  # from the start of a job on

    def handle(*_: object) -> None:
        raise Interrupted(143)

    before = signal.signal(signal.SIGUSR2, handle)
    try:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        with pytest.raises(Interrupted), jobs.at_work(NAME, command, Noted()) as job:
            follow(jobs, job)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert said[-1].startswith(f"the job {NAME}-1 may not have stopped (status code 503)")
