"""A server that answers Ray's client as a jobs server does, on a script; a real one takes a cluster to start."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import ray

from infra.compute.job import Job
from infra.compute.jobs import JobEnd, Jobs
from infra.errors import Interrupted

NAME = "ddpm-train-1a2b"
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass
class ScriptedJob:
    """A job; each look at it takes the next of its states, and the last one stays.

    Attributes:
        states: Its states.
        log: Its log.
        code: The exit code of its command.
        submitted: What it was submitted with.
        after_stop: Its states once it was asked to stop.
        unready: The number of requests to stop that it does not take, because it has no process yet.
    """

    states: list[str]
    log: str = ""
    code: int | None = None
    submitted: dict[str, Any] = field(default_factory=dict)
    after_stop: list[str] = field(default_factory=lambda: ["STOPPED"])
    unready: int = 0

    def look(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def stop(self) -> bool:
        self.unready -= 1
        if self.unready >= 0:
            return False
        self.states = self.after_stop
        return True


@dataclass
class JobsServer:
    """The server as a test uses it.

    Attributes:
        url: Where it listens.
        version: The version of Ray that it states.
        jobs: Its jobs by id.
        version_answer: Its answer to the question for the version, if it is another server.
        token: The token that it wants; empty for none.
        fate: Receives each request's method and path; returns a status to answer with instead, or None.
        text: The text of such an answer.
        on_submit: Called before a job is taken.
        loses: Whether the answer to a submission that was taken gets lost on its way.
        requests: The requests so far.
    """

    url: str = ""
    version: str = ray.__version__
    jobs: dict[str, ScriptedJob] = field(default_factory=dict)
    version_answer: object = None
    token: str = ""
    fate: Callable[[str, str], int | None] = lambda method, path: None
    text: str = ""
    on_submit: Callable[[str], None] = lambda id_: None
    loses: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    next: ScriptedJob = field(default_factory=lambda: ScriptedJob(["SUCCEEDED"], code=0))

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        if (status := self.fate(method, path)) is not None:
            return status, self.text
        if path == "/api/version":
            usual = {"version": "4", "ray_version": self.version, "ray_commit": ""}
            return 200, usual if self.version_answer is None else self.version_answer
        if path == "/api/jobs/" and method == "POST":
            return self._submit(json.loads(body))
        if path == "/api/jobs/":
            return 200, [_details(id_, job, job.states[0]) for id_, job in self.jobs.items()]
        id_, _, about = path.removeprefix("/api/jobs/").partition("/")
        if (job := self.jobs.get(id_)) is None:
            return 404, {}
        if about == "logs":
            return 200, {"logs": job.log}
        if about == "stop":
            return 200, {"stopped": job.stop()}
        return 200, _details(id_, job, job.look())

    def _submit(self, values: dict[str, Any]) -> tuple[int, Any]:
        id_ = values["submission_id"]
        self.on_submit(id_)
        if id_ in self.jobs:
            return 400, {"error": f"{id_} already exists"}
        self.next.submitted = values
        self.jobs[id_] = self.next
        return (503, {}) if self.loses else (200, {"submission_id": id_, "job_id": id_})


def _details(id_: str, job: ScriptedJob, state: str) -> dict[str, Any]:
    ended = state in ENDED
    return {
        "type": "SUBMISSION",
        "submission_id": id_,
        "status": state,
        "entrypoint": "",
        "driver_exit_code": job.code if ended else None,
        "message": f"it is {state}",
        "metadata": job.submitted.get("metadata"),
    }


@contextmanager
def jobs_server() -> Iterator[JobsServer]:
    """Run a server."""
    scripted = JobsServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.requests.append((self.command, self.path))
            given = self.headers.get("Authorization", "")
            if scripted.token and given != f"Bearer {scripted.token}":
                status, value = (403 if given else 401), {}
            else:
                status, value = scripted.answer(self.command, self.path, body)
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scripted.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def command(job: Job) -> list[str]:
    return ["ddpm", "stage", "train", f"/a root/{job.id}"]


@dataclass
class Noted:
    """Followers as a test sets them; notes what a run says about itself."""

    others: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def join(self, job: Job) -> None:
        self.steps.append(("join", job.id))

    def leave(self, job: Job) -> str:
        self.steps.append(("leave", job.id))
        return self.others


def start(jobs: Jobs) -> Job:
    with jobs.at_work(NAME, command, Noted()) as job:
        return job


def follow(jobs: Jobs, job: Job) -> tuple[JobEnd, list[str]]:
    lines: list[str] = []
    return jobs.follow(job, on_line=lines.append, on_poll=lambda: None), lines


def interrupt() -> None:
    raise Interrupted(143)
