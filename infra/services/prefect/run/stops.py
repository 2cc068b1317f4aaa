"""The ends of a run that come from outside: cancelled, paused, deleted, out of time, or left by its server."""

import contextlib
import logging
import os
from collections.abc import Iterator

from prefect.exceptions import Abort, Pause

from infra.compute.processes import end_with_parent
from infra.errors import Interrupted

# The variable holds the process id of the `ddpm serve` whose runs inherit it.
SERVER_VARIABLE = "DDPM_SERVED_BY"
_INTERRUPTED = 130
logger = logging.getLogger(__name__)


class RunAborted(Abort, SystemExit):
    """The run was cancelled, deleted or ended by somebody else; a SystemExit, so that Ray's waits let it through."""


class RunOutOfTime(RunAborted):
    """The run reached its time limit; what it had was saved, as after a cancel."""


class RunUnreported(RunAborted):
    """The work is done, and the server was away for too long to take the run's end."""


class RunPaused(Pause, SystemExit):
    """The run was paused: this process ends, and another goes on when somebody resumes the run."""


@contextlib.contextmanager
def stops_passed_on() -> Iterator[None]:
    """Raise a stop of the flow in this process as an interrupt; finished work ends normally.

    Raises:
        Interrupted: If the flow was interrupted here, or cancelled, paused or deleted from outside.
    """
    try:
        yield
    except RunUnreported as finished:
        logger.warning("%s", finished)
    except (RunAborted, RunPaused) as stop:
        if isinstance(stop.__cause__, Interrupted):
            raise stop.__cause__ from None
        interrupt = Interrupted(_INTERRUPTED)
        for note in (str(stop.args[0]), *getattr(stop, "__notes__", [])):
            interrupt.add_note(note)
        raise interrupt from None


def end_with_server() -> None:
    """Let this process end with the `ddpm serve` that started it, even by a kill; do nothing if none did."""
    server = os.environ.get(SERVER_VARIABLE)
    if server is None:
        return
    end_with_parent()
    if os.getppid() != int(server):  # it ended before the line above
        raise RunAborted("ddpm serve has ended")
