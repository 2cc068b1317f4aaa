"""The part of a run in a job that others may follow too: it says that it follows, and learns who else does."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from flows.runtime.handover import Handover
from infra.compute.job import Job
from infra.errors import DdpmError
from infra.outputs.followers import followers, following
from infra.outputs.lease_holder import Holder
from infra.storage.store import Store

# Prefect kills a process 30 s after its signal, and the job needs most of them to save its work.
_LOOK_S = 3.0


@dataclass(kw_only=True)
class Followed:
    """One run's part in the job that it follows; the end of the block withdraws the run.

    Attributes:
        store: The store of all outputs.
        who: The run's name, for people.
        say: Receives lines for the user.
        look_s: The longest wait for the store to tell who else follows.
    """

    store: Store
    who: str
    say: Callable[[str], None]
    look_s: float = _LOOK_S
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _holders: list[Holder] = field(default_factory=list, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def join(self, job: Job) -> None:
        """Announce that this run follows a job, and no other one any more.

        Raises:
            StorageError: If the store does not answer.
        """
        self._stack.close()
        self._holders.append(self._holder())
        self._stack.enter_context(following(self.store, job.id, self._holders[-1], on_wait=self.say))

    def leave(self, job: Job) -> str:
        """Withdraw this run; return a line about another one that follows the job, or nothing.

        If nobody does, a note says that the job is about to be stopped, so that a run that comes at this moment starts
        another one. If the store does not tell in time, nobody counts as following: a job that is stopped saves its
        work, and one that nobody follows would work on unseen.
        """
        found: list[str] = []
        is_late, deciding = threading.Event(), threading.Lock()
        handover = Handover(store=self.store, job=job.id, submission=job.submission)

        def look() -> None:
            try:
                self._stack.close()
                others = followers(self.store, job.id, self._holder(), own=self._holders)
            except (DdpmError, OSError) as error:
                self.say(f"whether other runs follow the job {job.id} is not known ({error})")
                others = []
            with deciding:
                if not is_late.is_set():
                    found.extend(others)
            if not found:  # those that are found too late need the note to go on with another job
                note()

        def note() -> None:
            try:
                handover.note_stop()
            except (DdpmError, OSError) as error:
                self.say(f"a run that follows the job {job.id} too may end with it ({error})")

        looking = threading.Thread(target=look, name=f"followers of {job.id}", daemon=True)
        looking.start()
        looking.join(self.look_s)
        with deciding:
            is_late.set()
        return found[0] if found else ""

    def _holder(self) -> Holder:
        return Holder.here(self.who, datetime.now(UTC))
