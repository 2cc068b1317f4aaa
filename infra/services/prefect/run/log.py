"""The log of a Prefect run, kept short: our failures explain themselves."""

import contextlib
import logging
from collections.abc import Callable, Iterator

from infra.errors import DdpmError

_RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_OWN_LOGGERS = ("flows", "infra")
_STOPPED = "Crash detected! Execution was aborted by a termination signal."


@contextlib.contextmanager
def plain_log(words: Callable[[str], str]) -> Iterator[None]:
    """Log a failure that its one line explains as that line, without the traceback that Prefect adds.

    Our own warnings, which Prefect takes for the run's page, are shown on the terminal as well.

    Args:
        words: Says a line of the command line in the words of the pages.
    """
    plain, terminal = _Plain(words), logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter("ddpm: %(message)s"))
    runs, own = ([logging.getLogger(name) for name in names] for names in (_RUN_LOGGERS, _OWN_LOGGERS))
    for one in runs:
        one.addFilter(plain)
    for one in own:
        one.addHandler(terminal)
    try:
        yield
    finally:
        for one in runs:
            one.removeFilter(plain)
        for one in own:
            one.removeHandler(terminal)


@contextlib.contextmanager
def quiet_delivery() -> Iterator[None]:
    """Keep Prefect from writing to the terminal, every two seconds, that a server which is away takes no log lines."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


class _Plain(logging.Filter):
    def __init__(self, words: Callable[[str], str]) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, DdpmError):
            record.msg, record.args, record.exc_info = self._words(str(error)), (), None
        elif record.msg == _STOPPED:
            record.msg, record.levelno, record.levelname = "stopped by a signal", logging.INFO, "INFO"
        return True
