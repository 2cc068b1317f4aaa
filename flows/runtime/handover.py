"""The files by which a run and the job that runs one of its stages speak, below the root that both see.

    .jobs/<id>/<submission>/spec.json        what to run; put before the job starts
    .jobs/<id>/<submission>/progress.json    how far it is; replaced now and then
    .jobs/<id>/<submission>/begun.json       the outputs that it has begun, with which its run's next job goes on
    .jobs/<id>/<submission>/outcome.json     its result or its error; put last
    .jobs/<id>/<submission>/stop.json        put by a run that was interrupted, before it asks for the job's stop

No output depends on them.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from flows.options import name_options
from flows.stage import Progress
from infra.digests import Json
from infra.errors import DdpmError, error_from_json, error_to_json
from infra.storage.store import Store

FOLDER, OUTCOME = ".jobs", "outcome.json"
_PROGRESS_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a job's work.

    Attributes:
        result: The artifact as JSON; None if the work failed.
        seconds: The length of the work.
        error: The failure; None if the work has a result.
    """

    result: Json | None
    seconds: float
    error: DdpmError | None


@dataclass(kw_only=True)
class Handover:
    """The files of one job.

    Attributes:
        store: The store of all outputs.
        job: The job's id.
        submission: Tells requests to start a job of this id apart: those of racing runs, and of an earlier cluster.
        clock: Returns seconds from any origin.
        begun: Keys of the outputs that the job, or an earlier job of its run, has begun.
    """

    store: Store
    job: str
    submission: str
    clock: Callable[[], float] = time.monotonic
    begun: set[str] = field(default_factory=set)
    _reported_s: float = field(default=-math.inf, init=False)
    _unreported: Progress | None = field(default=None, init=False)
    _known: set[str] = field(default_factory=set, init=False)

    def put_spec(self, spec: Json) -> str:
        """Put a spec; return its address."""
        self.store.replace(self._name("spec"), json.dumps(spec, indent=2).encode())
        return f"{self.store.uri}/{self._name('spec')}"

    def withdraw_spec(self) -> None:
        """Remove the spec of a job that did not start."""
        with contextlib.suppress(DdpmError, OSError):
            self.store.delete(self._name("spec"))

    def put_progress(self, progress: Progress) -> None:
        """Put the progress, unless that was done a moment ago; a store that does not take it costs nothing.

        What the job has begun since the last call is put at once.
        """
        self._put_begun()
        self._unreported = progress
        if (now_s := self.clock()) - self._reported_s >= _PROGRESS_S:
            self._reported_s = now_s
            self.flush()

    def flush(self) -> None:
        """Put what is not put yet of the progress and of what the job has begun."""
        self._put_begun()
        progress, self._unreported = self._unreported, None
        if progress is not None:
            with contextlib.suppress(DdpmError, OSError):
                self.store.replace(self._name("progress"), json.dumps(asdict(progress)).encode())

    def _put_begun(self) -> None:
        if self.begun != self._known:
            with contextlib.suppress(DdpmError, OSError):
                self.store.replace(self._name("begun"), json.dumps(sorted(self.begun)).encode())
                self._known = set(self.begun)

    def begun_there(self) -> set[str]:
        """Return the keys that the job has put; empty if there are none, or if they cannot be read."""
        with contextlib.suppress(DdpmError, OSError, ValueError):
            return {str(key) for key in json.loads(self.store.read(self._name("begun")))}
        return set()

    def progress(self) -> Progress | None:
        """Return the last progress; None if there is none, or if it cannot be read."""
        with contextlib.suppress(DdpmError, OSError, ValueError):
            return TypeAdapter(Progress).validate_json(self.store.read(self._name("progress")))
        return None

    @contextlib.contextmanager
    def recording(self) -> Iterator[Callable[[Json], None]]:
        """Yield a function that puts the result; put the error if the block fails for a reason that a line explains.

        The last progress is put at the end of the block, however it ends.
        """
        began_s = self.clock()

        def put(result: Json | None, error: str = "") -> None:
            outcome = {"result": result, "error": error, "seconds": round(self.clock() - began_s, 3)}
            self.store.replace(self._name("outcome"), json.dumps(outcome).encode())

        try:
            yield put
        except DdpmError as error:
            name_options(error)
            with contextlib.suppress(DdpmError, OSError):  # the exit code tells the kind of error all the same
                put(None, error_to_json(error))
            raise
        finally:
            self.flush()

    def outcome(self) -> Outcome | None:
        """Return the outcome; None if there is none.

        Raises:
            StorageError: If the store does not answer.
        """
        try:
            values: dict[str, Any] = json.loads(self.store.read(self._name("outcome")))
        except FileNotFoundError:
            return None
        error = error_from_json(values["error"]) if values["error"] else None
        return Outcome(result=values["result"], seconds=values["seconds"], error=error)

    def note_stop(self) -> None:
        """Note that an interrupted run is about to stop the job."""
        self.store.replace(self._name("stop"), b"{}")

    def is_stopped_by_run(self) -> bool:
        """Tell whether an interrupted run stopped the job; false if somebody else did.

        Raises:
            StorageError: If the store does not answer.
        """
        return self.store.exists(self._name("stop"))

    def _name(self, name: str) -> str:
        return f"{FOLDER}/{self.job}/{self.submission}/{name}.json"
