"""Jobs of a Ray cluster, by Ray's own client in front of a scripted server; `tests/e2e/test_job.py` has a real one."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.compute import jobs_client
from infra.compute import jobs_stop as module
from infra.compute.jobs import Job, JobEnd, Jobs, numbers_of
from infra.errors import ConfigError, Interrupted, ResourceError
from tests.infra.compute.jobs_server import JobsServer, ScriptedJob, jobs_server

NAME = "ddpm-train-1a2b"
WORKING = ["PENDING", "RUNNING"]


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@pytest.fixture
def server() -> Iterator[JobsServer]:
    with jobs_server() as scripted:
        yield scripted


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def jobs(server: JobsServer, said: list[str]) -> Jobs:
    return Jobs(
        address=server.url, patience_s=5, say=said.append, poll_s=0.01, sleep=lambda s: time.sleep(min(s, 0.01))
    )


def command(id_: str) -> list[str]:
    return ["ddpm", "stage", "train", f"/a root/{id_}"]


@dataclass
class Noted:
    """Followers as a test sets them; notes what a run says about itself."""

    others: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def join(self, job: str) -> None:
        self.steps.append(("join", job))

    def leave(self, job: str) -> str:
        self.steps.append(("leave", job))
        return self.others


def start(jobs: Jobs) -> Job:
    with jobs.at_work(NAME, command, Noted()) as job:
        return job


def follow(jobs: Jobs, job: Job) -> tuple[JobEnd, list[str]]:
    lines: list[str] = []
    return jobs.follow(job, on_line=lines.append, on_poll=lambda: None), lines


def interrupt() -> None:
    raise Interrupted(143)


def test_the_first_job_of_a_name(server: JobsServer, jobs: Jobs) -> None:
    assert start(jobs) == Job(id=f"{NAME}-1", is_new=True)
    submitted = server.jobs[f"{NAME}-1"].submitted
    assert submitted["entrypoint"] == f"exec ddpm stage train '/a root/{NAME}-1'"
    assert submitted["runtime_env"] == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "25"}}, "Ray's own limit is 3 s"
    assert submitted["metadata"] == {}


@pytest.mark.parametrize(
    ("states", "job"),
    [
        ({1: "SUCCEEDED"}, Job(id=f"{NAME}-2", is_new=True)),
        ({1: "FAILED", 10: "STOPPED", 9: "FAILED"}, Job(id=f"{NAME}-11", is_new=True)),
        ({1: "RUNNING"}, Job(id=f"{NAME}-1", is_new=False)),
        ({1: "FAILED", 2: "PENDING"}, Job(id=f"{NAME}-2", is_new=False)),
    ],
)
def test_a_job_at_work_is_found_and_an_ended_one_followed_by_the_next_number(
    server: JobsServer, jobs: Jobs, states: dict[int, str], job: Job
) -> None:
    server.jobs |= {f"{NAME}-{number}": ScriptedJob([state]) for number, state in states.items()}
    server.jobs |= {f"{NAME}c-7": ScriptedJob(["RUNNING"]), "raysubmit_x": ScriptedJob(["RUNNING"])}
    assert start(jobs) == job


def test_the_job_that_another_process_started_at_the_same_time_is_found(server: JobsServer, jobs: Jobs) -> None:
    server.on_submit = lambda id_: server.jobs.__setitem__(id_, ScriptedJob(WORKING))
    assert start(jobs) == Job(id=f"{NAME}-1", is_new=False)


def test_a_server_that_takes_no_job_is_one_line(server: JobsServer, jobs: Jobs) -> None:
    server.fate = lambda method, path: 500 if method == "POST" else None
    with pytest.raises(ResourceError, match=r"takes no job \(Request failed with status code 500"):
        start(jobs)


def test_an_answer_that_was_lost_starts_no_second_job(server: JobsServer, jobs: Jobs) -> None:
    """The server took the job, and a proxy in front of it lost the answer."""
    server.next, server.loses = ScriptedJob(WORKING), True
    assert start(jobs) == Job(id=f"{NAME}-1", is_new=False)
    assert list(server.jobs) == [f"{NAME}-1"]


def test_each_line_of_a_new_jobs_log_is_shown_once(server: JobsServer, jobs: Jobs) -> None:
    server.next = ScriptedJob([*WORKING, "RUNNING", "FAILED"], code=6)
    job = start(jobs)
    scripted, lines = server.jobs[job.id], list[str]()
    parts = ["Running entrypoint for job x: exec ddpm\none\n", "tw", "o\n\n", "ddpm: train: x is damaged\n"]

    def grow() -> None:
        scripted.log += parts.pop(0) if parts else ""

    grow()
    assert jobs.follow(job, on_line=lines.append, on_poll=grow) == JobEnd(
        state="failed", code=6, message="it is FAILED", last_line="ddpm: train: x is damaged"
    )
    assert lines == ["one", "two", "ddpm: train: x is damaged"]


def test_of_a_job_that_was_found_the_last_lines_are_shown(server: JobsServer, jobs: Jobs) -> None:
    server.jobs[f"{NAME}-1"] = ScriptedJob(["RUNNING", "SUCCEEDED"], "".join(f"{n}\n" for n in range(100)), 0)
    end, lines = follow(jobs, start(jobs))
    assert lines == [str(n) for n in range(80, 100)]
    assert (end.state, end.code, end.last_line) == ("succeeded", 0, "99")


def test_a_log_that_cannot_be_read_costs_its_lines_alone(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    server.fate = lambda method, path: 500 if path.endswith("/logs") else None
    assert follow(jobs, start(jobs)) == (JobEnd(state="succeeded", code=0, message="it is SUCCEEDED"), [])
    assert said == []


def test_a_server_that_is_away_for_a_moment_is_waited_for(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    job = start(jobs)
    away = [503] * 5
    server.fate = lambda method, path: away.pop() if away else None
    assert follow(jobs, job)[0].state == "succeeded"
    (line,) = said
    assert line.startswith(f"the jobs server {server.url} does not answer (status code 503); jobs go on without it;")
    assert line.endswith("waiting at most 0.0833333 min for it")


def test_a_server_that_stays_away_ends_the_wait(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    job = start(jobs)
    jobs.patience_s = 0.2
    server.fate = lambda method, path: 503
    with pytest.raises(ResourceError, match=r"did not answer for .* - the same command finds a job .* at work"):
        follow(jobs, job)
    assert len(said) == 1
    assert ("POST", f"/api/jobs/{job.id}/stop") not in server.requests, "the job goes on"


def test_a_job_that_went_with_its_cluster_is_one_line(server: JobsServer, jobs: Jobs) -> None:
    job = start(jobs)
    server.jobs.clear()
    with pytest.raises(ResourceError, match=f"job {NAME}-1: the cluster no longer knows it - run the same command"):
        follow(jobs, job)


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


def test_a_job_that_is_found_is_joined_too(server: JobsServer, jobs: Jobs) -> None:
    server.jobs[f"{NAME}-3"] = ScriptedJob(["RUNNING"])
    followers = Noted()
    with jobs.at_work(NAME, command, followers):
        assert followers.steps == [("join", f"{NAME}-3")]


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
    for name, seconds in {"STOP_S": 0.1, "REQUEST_S": 0.2, "ANSWER_S": 0.3}.items():
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
        (500, "may not have stopped (Request failed with status code 500: {}.)"),
        (200, "has not stopped"),
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


def test_another_version_of_ray_is_refused_before_a_job_starts(server: JobsServer, jobs: Jobs) -> None:
    server.version = "2.59.1"
    with pytest.raises(ConfigError, match=r"runs Ray 2\.59\.1, and this is Ray .* - install the same release"):
        start(jobs)
    assert not server.jobs


def test_nobody_there_is_one_line_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    jobs = Jobs(address=address, patience_s=600, say=print)
    began = time.monotonic()
    with pytest.raises(ResourceError, match=r"^jobs server http://127.* does not answer \(.*\) - check its address"):
        start(jobs)
    assert time.monotonic() - began < 10


def test_a_server_that_never_answers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_client, "REQUEST_S", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        jobs = Jobs(address=f"http://127.0.0.1:{mute.getsockname()[1]}", patience_s=600, say=print)
        with pytest.raises(ResourceError, match=r"does not answer \(.*timed out"):
            start(jobs)


@pytest.mark.parametrize("value", ["a page", [], {}])
def test_another_server_than_rays_is_one_line(server: JobsServer, jobs: Jobs, value: object) -> None:
    server.version_answer = value
    with pytest.raises(ResourceError, match="does not answer"):
        start(jobs)


def test_the_address_of_the_setting_counts(server: JobsServer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's client would take these two instead."""
    variables = {"RAY_ADDRESS": "127.0.0.1:6379", "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start(jobs).is_new
    assert {name: os.environ[name] for name in variables} == variables


def test_numbers_of_a_name() -> None:
    ids: dict[str, Any] = {"a-1-2": None, "a-1-x": None, "a-1-": None, "b-1-3": None}
    assert numbers_of("a-1", ids) == [2]
