"""A failure is one line in the log of a run and on the terminal, once."""

import logging

import pytest

from infra.errors import ConfigError
from infra.services.prefect.run.log import plain_log, quiet_delivery


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> _Lines:
    """The records of the loggers of runs, tasks and this project; nothing of it goes to a server."""
    handler = _Lines()
    for name in ("prefect.flow_runs", "prefect.task_runs", "flows", "infra"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    return handler


def _fail(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except Exception as caught:
        logger.exception("Task run failed with exception: %r", caught)


@pytest.mark.parametrize("name", ["prefect.task_runs", "prefect.flow_runs"])
def test_our_own_failures_explain_themselves(lines: _Lines, name: str) -> None:
    logger = logging.getLogger(name)
    ours = ConfigError("is 100 % wrong", item="train.images", remedy="use --set train.images=1")
    with plain_log(lambda line: line.replace("--set train.images=1", "the form's “Images”")):
        _fail(logger, ours)
        _fail(logger, ValueError("not ours"))
        logger.warning("%d of %d", 1, 2)
    _fail(logger, ours)
    plain, traceback, other, after = lines.records
    assert plain.getMessage() == "train.images: is 100 % wrong - use the form's “Images”"
    assert plain.exc_info is None
    assert plain.levelno == logging.ERROR
    assert "Traceback" not in logging.Formatter().format(plain)
    for record, error in ((traceback, ValueError), (after, ConfigError)):
        assert record.exc_info is not None
        assert record.exc_info[0] is error
        assert record.getMessage().startswith("Task run failed with exception")
    assert other.getMessage() == "1 of 2"


def test_a_stop_is_no_crash(lines: _Lines) -> None:
    logger = logging.getLogger("prefect.flow_runs")
    with plain_log(str):
        logger.error("Crash detected! Execution was aborted by a termination signal.")
        logger.error("Crash detected! Of another kind.")
    stopped, crashed = lines.records
    assert (stopped.getMessage(), stopped.levelname) == ("stopped by a signal", "INFO")
    assert crashed.levelname == "ERROR"


def test_our_own_warnings_are_on_the_terminal_once(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = {name: logging.getLogger(name) for name in ("flows", "infra", "prefect.task_runs", "prefect.flow_runs")}
    before = {name: (list(logger.handlers), list(logger.filters)) for name, logger in loggers.items()}
    with plain_log(str):
        logging.getLogger("infra.services.prefect.run.run").warning("away (%s)", "why")
        logging.getLogger("flows.runtime.session").info("not a warning")
        logging.getLogger("flows.runtime.session").error("worse")
    logging.getLogger("flows.runtime.session").warning("nobody listens")
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ddpm: ")]
    assert shown == ["ddpm: away (why)", "ddpm: worse"]
    assert {name: (list(logger.handlers), list(logger.filters)) for name, logger in loggers.items()} == before


def test_all_is_taken_back_after_a_failure() -> None:
    before = [*logging.getLogger("flows").handlers], [*logging.getLogger("prefect.flow_runs").filters]
    with pytest.raises(ConfigError), plain_log(str):
        raise ConfigError("wrong")
    assert before == ([*logging.getLogger("flows").handlers], [*logging.getLogger("prefect.flow_runs").filters])


def test_lines_that_cannot_be_delivered_are_no_output() -> None:
    """Prefect's worker writes to the terminal while `logging.raiseExceptions` is true, every two seconds."""
    assert logging.raiseExceptions
    with quiet_delivery():
        assert not logging.raiseExceptions
    assert logging.raiseExceptions
    with pytest.raises(RuntimeError), quiet_delivery():
        raise RuntimeError
    assert logging.raiseExceptions
