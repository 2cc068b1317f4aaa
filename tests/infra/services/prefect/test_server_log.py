"""The errors in the log of our own Prefect server: each is found once, as one line."""

from pathlib import Path

import pytest

from infra.services.prefect.server_log import ErrorLines

# As Prefect's server wrote them under SQLAlchemy 2.1, the second a minute after the first.
BULK = """\
22:56:5{second}.780 | ERROR   | docket.dependencies - ↩ [{blanks}{second}9ms] schedule(){{schedule}}
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/docket/dependencies.py", line 12, in run
    await function()
ValueError: the first of two, as chained tracebacks have them

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/prefect/server/services/scheduler.py", line 212, in schedule
    sample: int = 3
sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement; please supply a bulk_dml decorated function
[SQL: SELECT 1]
(Background on this error at: https://sqlalche.me/e/21/e3q8)
"""
BULK_SAID = (
    "sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement; please supply a bulk_dml decorated function"
)
OTHERS = """\
22:57:00.001 | WARNING | prefect.server.services - Slow: a warning is no error
Traceback (most recent call last):
ValueError: of a warning
22:57:00.002 | ERROR   | prefect.server.events - run 0f8fad5b-d9cb-469f-a165-70867728950e took 12 s
22:57:00.003 | ERROR   | prefect.server.events - run 7c9e6679-7425-40de-944b-e07fc1f90ae7 took 3 s
INFO:     Started server process [12]
ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 4200): address already in use
22:57:00.004 | INFO    | prefect - note: nothing
a line: of somebody else
"""


def _everything(log: ErrorLines) -> list[str]:
    return [*log.fresh(), *log.fresh()]


def test_an_error_is_said_once_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    lines = ErrorLines(log)
    assert _everything(lines) == []
    log.write_text(BULK.format(second=1, blanks="    ") + OTHERS)
    assert _everything(lines) == [
        BULK_SAID,
        "prefect.server.events - run 0f8fad5b-d9cb-469f-a165-70867728950e took 12 s",
        "[Errno 98] error while attempting to bind on address ('127.0.0.1', 4200): address already in use",
    ]
    with log.open("a") as more:
        more.write(BULK.format(second=2, blanks="  "))
    assert _everything(lines) == []


def test_an_error_without_traceback_differs_by_its_words_alone(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    form = "10:00:0{}.000 | ERROR   | prefect - ↩ [{}ms] {}(){{{}}}\n"
    log.write_text("".join([form.format(1, "    59", "one", 1), form.format(2, "   131", "one", 22)]))
    lines = ErrorLines(log)
    assert len(_everything(lines)) == 1
    with log.open("a") as more:
        more.write(form.format(3, "   131", "two", 1))
    assert len(_everything(lines)) == 1


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_log_that_grows_in_pieces(tmp_path: Path, size: int) -> None:
    log = tmp_path / "server.log"
    data = BULK.format(second=1, blanks="    ").encode()
    lines, said = ErrorLines(log), []
    with log.open("ab", buffering=0) as writing:
        for start in range(0, len(data), size):
            writing.write(data[start : start + size])
            said += lines.fresh()
    assert [*said, *lines.fresh()] == [BULK_SAID]


def test_a_log_that_was_cut_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(OTHERS)
    lines = ErrorLines(log)
    assert len(_everything(lines)) == 2
    log.write_text("ERROR:    new\n")
    assert _everything(lines) == ["new"]
