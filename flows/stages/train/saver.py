"""The thread that commits what training hands over, so that steps do not wait for the store."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor

from infra.errors import DdpmError, ResourceError, StorageError

# As long as a store or a disk may be away before the run ends.
PATIENCE_S = 600.0
_COPIES_PENDING = 2
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 30.0
_LOOK_S = 0.25
_LAST_COMMIT_S = 60.0


class Copies:
    """Copies of tensors on their own device, which another thread may bring to the host.

    Args:
        tensors: The tensors by name; copying them does not wait for the device.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        # In the order of a file, so that the other thread need not copy them again: torch would start threads for it,
        # and with more of them than cores OpenMP lets the steps' own threads sleep at every wait for each other.
        self.tensors = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        self._ready = None
        self._device = next((tensor.device for tensor in self.tensors.values() if tensor.is_cuda), None)
        if self._device is not None:
            self._ready = torch.cuda.current_stream(self._device).record_event()

    def on_host(self) -> dict[str, Tensor]:
        """Return the copies in host memory; a GPU brings them beside its other work."""
        if self._ready is None:
            return self.tensors
        stream = torch.cuda.Stream(self._device)
        with torch.cuda.stream(stream):
            stream.wait_event(self._ready)
            return {name: tensor.cpu() for name, tensor in self.tensors.items()}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to commit.

    Attributes:
        name: Its name in lines for the user, such as "the checkpoint at 320 images".
        commit: Commits it; called again after an error of the store.
        copies: The copies that it keeps in memory until it is committed; None if it keeps little. Jobs of the same
            copies count once among those that training waits for.
        is_superseded_by_later: Whether it may be left out if a later job is to be committed soon.
    """

    name: str
    commit: Callable[[], object]
    copies: Copies | None = None
    is_superseded_by_later: bool = False


class Saver:
    """Commits jobs in order, in a thread of its own.

    If the store does not answer or the disk is full, it tries the same job again, at growing intervals, for a bounded
    time; training goes on meanwhile. A longer outage, and any other error, ends the saver; `check` then raises it.

    Args:
        patience_s: How long a store may be away.
        clock: Returns seconds from any origin.
        pause: Waits some seconds between two tries; by default, less if the saver is to end.

    Attributes:
        trouble: The reason why nothing is committed now; empty if all is well.
        lines: Lines for the run's log.
    """

    def __init__(
        self,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.trouble = ""
        self.lines: list[str] = []
        self._patience_s, self._clock = patience_s, clock
        self._wake = threading.Event()
        self._pause = pause or self._wake.wait
        self._jobs: deque[Job] = deque()
        self._current: Job | None = None
        self._dropped: Job | None = None
        self._error: BaseException | None = None
        self._deadline_s = float("inf")
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)

    def __enter__(self) -> "Saver":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """End the thread; jobs that are still pending are not begun."""
        with self._changed:
            self._ended = True
            self._jobs.clear()
            self._changed.notify_all()
        self._wake.set()
        if self._error is None:  # else it has ended, or hangs
            self._thread.join(_LAST_COMMIT_S)

    def has_room(self) -> bool:
        """Tell whether fewer than two copies of the state are pending, so that another may come without a wait."""
        with self._changed:
            return self._copies_pending() < _COPIES_PENDING

    def await_room(self, until: Callable[[], bool]) -> None:
        """Wait until there is room, or `until` is true.

        Raises:
            BaseException: The saver's own error, if it ended by one.
        """
        with self._changed:
            while self._error is None and self._copies_pending() >= _COPIES_PENDING and not until():
                self._changed.wait(_LOOK_S)
        self.check()

    def put(self, job: Job) -> None:
        """Add a job."""
        with self._changed:
            if self._error is None:
                self._jobs.append(job)
                self._changed.notify_all()

    def drop_superseded(self) -> None:
        """Leave out the pending jobs that a later one supersedes; one that is being committed is not tried again."""
        with self._changed:
            self._jobs = deque(job for job in self._jobs if not job.is_superseded_by_later)
            if self._current is not None and self._current.is_superseded_by_later:
                self._dropped = self._current
        self._wake.set()

    def check(self) -> None:
        """Do nothing if all is well.

        Raises:
            BaseException: The saver's own error, if it ended by one.
        """
        if self._error is not None:
            raise self._error

    def flush(self, within_s: float = float("inf")) -> None:
        """Wait until every job is committed; errors of the store are retried for at most `within_s` from now.

        Raises:
            StorageError: If a try that began before then has not ended a minute later; the saver is given up.
            BaseException: The saver's own error, if it ended by one.
        """
        with self._changed:
            self._deadline_s = self._clock() + within_s
            self._wake.set()
            while self._error is None and (self._jobs or self._current is not None):
                if self._clock() >= self._deadline_s + _LAST_COMMIT_S:
                    self._give_up()
                self._changed.wait(_LOOK_S)
            self._deadline_s = float("inf")
        self.check()

    def _give_up(self) -> None:
        name = self._current.name if self._current is not None else "what is pending"
        self._error = StorageError("the store does not answer", item=name, remedy="run again: what is kept stays")
        self._jobs.clear()

    def _copies_pending(self) -> int:
        jobs = [*self._jobs, *([self._current] if self._current is not None else [])]
        return len({id(job.copies) for job in jobs if job.copies is not None})

    def _run(self) -> None:
        while True:
            with self._changed:
                self._current = None
                self._changed.notify_all()
                while not self._jobs and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                self._current = self._jobs.popleft()
            try:
                self._commit(self._current)
            except BaseException as error:
                with self._changed:
                    self._error, self._current = error, None
                    self._jobs.clear()
                    self._changed.notify_all()
                return

    def _commit(self, job: Job) -> None:
        began_s: float | None = None
        delay_s = _FIRST_DELAY_S
        while True:
            self._wake.clear()  # before the look, so that a wish which comes during the try shortens the pause
            if self._ended or self._dropped is job:
                return
            try:
                job.commit()
            except (StorageError, ResourceError) as error:
                now_s = self._clock()
                began_s = now_s if began_s is None else began_s
                if now_s - began_s >= self._patience_s or now_s >= self._deadline_s:
                    raise
                self._report(job, error)
                self._pause(min(delay_s, max(self._deadline_s - now_s, _LOOK_S)))
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            else:
                self.trouble = ""
                return

    def _report(self, job: Job, error: DdpmError) -> None:
        """Report an outage; a line about it comes once, at its start."""
        if not self.trouble:
            self.lines.append(f"{job.name} is not saved yet ({error.cause}); training goes on and saving is retried")
        self.trouble = "saving is retried"
