"""Jobs that run in this process: the real `ddpm stage` on real files, without a cluster."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flows.cli import run_command
from infra.compute.job import Followers, Job
from infra.compute.jobs import JobEnd


class JobsHere:
    """Stands in for a cluster's jobs; everything that it runs works without Ray.

    Attributes:
        commands: The commands of the jobs that were started, by id.
        before: Called with a job's id before its command runs.
    """

    address = "http://head:8265"

    def __init__(self) -> None:
        self.commands: dict[str, list[str]] = {}
        self.before: Callable[[str], None] = lambda id_: None

    @property
    def titles(self) -> list[str]:
        """What the jobs were, without the digits of their keys."""
        return [id_.rsplit("-", 2)[0] for id_ in self.commands]

    def spec(self, id_: str) -> Path:
        return Path(self.commands[id_][-1])

    @contextlib.contextmanager
    def at_work(self, name: str, command: Callable[[Job], Sequence[str]], followers: Followers) -> Iterator[Job]:
        id_ = f"{name}-{sum(known.rpartition('-')[0] == name for known in self.commands) + 1}"
        job = Job(id=id_, submission=f"{len(self.commands):08x}", is_new=True)
        self.commands[id_] = list(command(job))
        followers.join(job)
        yield job

    def follow(self, job: Job, *, on_line: Callable[[str], None], on_poll: Callable[[], None]) -> JobEnd:
        program, *arguments = self.commands[job.id]
        assert program == "ddpm"
        values = json.loads(self.spec(job.id).read_text())
        values["run"]["mode"] = "in-process"
        self.spec(job.id).write_text(json.dumps(values))
        self.before(job.id)
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = run_command(arguments)
        lines = output.getvalue().splitlines()
        for line in lines:
            on_line(line)
        on_poll()
        state = "failed" if code else "succeeded"
        return JobEnd(state=state, code=code, message="", last_line=lines[-1].strip() if lines else "")
