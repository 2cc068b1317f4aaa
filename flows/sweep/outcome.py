"""The outcome of each run of a sweep, and the error in which a sweep with failed runs ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from flows.sweep.plan import PlannedRun
from infra.errors import DdpmError, Interrupted, ResourceError

# Exit codes, the worst first: our bug, damaged bytes, no room, no store, a conflict, the user's input, and training
# that diverged, which a sweep is there to find.
_WORST_FIRST = (1, 6, 7, 4, 5, 3, 2, 8, 143, 130)
_INTERRUPTED = (130, 143)
_SIGNALLED = 128


class State(StrEnum):
    """The state of a run of a sweep."""

    WAITING = "not run yet"
    RUNNING = "running"
    FOUND = "found finished"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(kw_only=True)
class SweepRun:
    """A run of a sweep and how far it is.

    Attributes:
        planned: Its settings.
        key: Its key.
        name: Its name.
        state: How far it is.
        code: Its exit code; 0 until it fails.
        line: The line in which it said why it failed.
    """

    planned: PlannedRun
    key: str
    name: str
    state: State = State.WAITING
    code: int = 0
    line: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether its figures can be read."""
        return self.state in (State.FOUND, State.FINISHED)

    @property
    def state_text(self) -> str:
        """Its state in words, with the reason if it failed."""
        return f"{self.state} (exit {self.code}: {self.line})" if self.code else str(self.state)

    def end(self, code: int, line: str) -> None:
        """Record the end of its process.

        Args:
            code: The exit code; negative for the number of a signal that ended the process.
            line: The line in which the run said why it failed.
        """
        self.code = code if code >= 0 else _SIGNALLED - code
        self.state = State.STOPPED if self.code in _INTERRUPTED else State.FAILED if self.code else State.FINISHED
        self.line = line if self.code else ""


def check_outcome(runs: Sequence[SweepRun], remedy: str) -> None:
    """Raise the error of a sweep if runs failed; its exit code is that of the worst.

    Args:
        runs: All runs.
        remedy: The user's next step.

    Raises:
        DdpmError: If a run failed; of the kind of the worst one.
        Interrupted: If runs were stopped from outside, and none failed.
    """
    ended = [run for run in runs if run.code]
    if not ended:
        return
    worst = min(ended, key=lambda run: _WORST_FIRST.index(run.code) if run.code in _WORST_FIRST else 2)
    cause = f"{len(ended)} of {len(runs)} runs did not finish; the worst is {worst.name}: {worst.line}"
    if worst.code in _INTERRUPTED:
        interrupt = Interrupted(worst.code)
        interrupt.add_note(f"{len(ended)} of {len(runs)} runs were stopped")
        raise interrupt
    kinds = {kind.exit_code: kind for kind in DdpmError.__subclasses__()} | {DdpmError.exit_code: DdpmError}
    raise kinds.get(worst.code, ResourceError)(cause, stage="sweep", remedy=remedy)
