"""Jobs of a Ray cluster, by Ray's own client in front of a scripted server; `tests/e2e/test_job.py` has a real one."""

import os
import socket
import time
from typing import Any

import pytest

from infra.compute import jobs_client
from infra.compute.job import Job
from infra.compute.jobs import JobEnd, Jobs, numbers_of
from infra.errors import ConfigError, ResourceError
from tests.infra.compute.jobs_server import NAME, JobsServer, Noted, ScriptedJob, command, follow, start

WORKING = ["PENDING", "RUNNING"]


def test_the_first_job_of_a_name(server: JobsServer, jobs: Jobs) -> None:
    job = start(jobs)
    assert (job.id, job.is_new) == (f"{NAME}-1", True)
    submitted = server.jobs[f"{NAME}-1"].submitted
    assert submitted["entrypoint"] == f"exec ddpm stage train '/a root/{NAME}-1'"
    assert submitted["runtime_env"] == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "25"}}, "Ray's own limit is 3 s"
    assert submitted["metadata"] == {"submission": job.submission}
    assert len(job.submission) == 16


@pytest.mark.parametrize(
    ("states", "job"),
    [
        ({1: "SUCCEEDED"}, (f"{NAME}-2", True)),
        ({1: "FAILED", 10: "STOPPED", 9: "FAILED"}, (f"{NAME}-11", True)),
        ({1: "RUNNING"}, (f"{NAME}-1", False)),
        ({1: "FAILED", 2: "PENDING"}, (f"{NAME}-2", False)),
    ],
)
def test_a_job_at_work_is_found_and_an_ended_one_followed_by_the_next_number(
    server: JobsServer, jobs: Jobs, states: dict[int, str], job: tuple[str, bool]
) -> None:
    server.jobs |= {f"{NAME}-{number}": ScriptedJob([state]) for number, state in states.items()}
    server.jobs |= {f"{NAME}c-7": ScriptedJob(["RUNNING"]), "raysubmit_x": ScriptedJob(["RUNNING"])}
    started = start(jobs)
    assert (started.id, started.is_new) == job


def test_the_job_that_another_process_started_at_the_same_time_is_found(server: JobsServer, jobs: Jobs) -> None:
    theirs = ScriptedJob(WORKING, submitted={"metadata": {"submission": "theirs"}})
    server.on_submit = lambda id_: server.jobs.__setitem__(id_, theirs)
    assert start(jobs) == Job(id=f"{NAME}-1", submission="theirs", is_new=False)


def test_a_server_that_takes_no_job_is_one_line(server: JobsServer, jobs: Jobs, said: list[str]) -> None:
    server.fate = lambda method, path: 422 if method == "POST" else None
    with pytest.raises(ResourceError, match=r"takes no job \(Request failed with status code 422"):
        start(jobs)
    assert said == []


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("request_", [("GET", "/api/version"), ("GET", "/api/jobs/"), ("POST", "/api/jobs/")])
def test_a_server_that_cannot_serve_now_is_waited_for_from_the_start(
    server: JobsServer, jobs: Jobs, said: list[str], request_: tuple[str, str], status: int
) -> None:
    faults = [status] * 3
    server.fate = lambda method, path: faults.pop() if (method, path) == request_ and faults else None
    assert start(jobs).is_new
    assert not faults
    (line,) = said
    assert f"does not answer (status code {status})" in line
    assert "waiting at most" in line


def test_the_wait_for_a_server_that_cannot_serve_ends_with_its_words(
    server: JobsServer, jobs: Jobs, said: list[str]
) -> None:
    jobs.patience_s, server.text = 0.1, "Traceback (most recent call last):\n  File x\nRuntimeError: no agent"
    server.fate = lambda method, path: 500 if method == "POST" else None
    with pytest.raises(
        ResourceError, match=r"did not answer for .* min \(status code 500: RuntimeError: no agent\) - "
    ):
        start(jobs)
    assert "(status code 500: RuntimeError: no agent); jobs go on without it" in said[0]


def test_an_answer_that_was_lost_starts_no_second_job(server: JobsServer, jobs: Jobs) -> None:
    """The server took the job, and a proxy in front of it lost the answer."""
    server.next, server.loses = ScriptedJob(WORKING), True
    job = start(jobs)
    assert (job.id, job.is_new) == (f"{NAME}-1", False)
    assert list(server.jobs) == [f"{NAME}-1"]
    assert server.jobs[job.id].submitted["metadata"] == {"submission": job.submission}


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


def test_a_job_that_is_found_is_joined_too(server: JobsServer, jobs: Jobs) -> None:
    server.jobs[f"{NAME}-3"] = ScriptedJob(["RUNNING"])
    followers = Noted()
    with jobs.at_work(NAME, command, followers):
        assert followers.steps == [("join", f"{NAME}-3")]


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
