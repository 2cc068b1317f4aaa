"""One check in a process of its own: `python -m flows.doctor.child NAME`, the subject as JSON on standard input.

What libraries print goes nowhere; the findings are the only line of the output. The process ends with its parent.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

from flows.doctor.check import Check, Subject
from flows.doctor.finding import Finding, Level, wrong
from flows.doctor.redaction import redacted, secrets_of
from flows.options import name_options
from infra.errors import DdpmError, Interrupted

BUG = 1
_STOPPED = 143


def findings(check: Check, subject: Subject) -> list[Finding]:
    """Run a check; return its findings without secrets, its own failure among them."""
    secrets = secrets_of(os.environ)
    return [
        Finding(
            level=one.level,
            cause=redacted(one.cause, secrets),
            item=redacted(one.item, secrets),
            remedy=redacted(one.remedy, secrets),
            exit_code=one.exit_code,
            check=check.name,
        )
        for one in _run(check.run(subject))
    ]


def _run(found: Iterable[Finding]) -> Iterator[Finding]:
    try:
        yield from found
    except DdpmError as error:
        name_options(error)
        yield wrong(error)
    except Exception as error:  # a check that fails must not hide the others
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        cause = (
            f"the check failed ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}, at {place})"
        )
        yield Finding(level=Level.WRONG, cause=cause, remedy="report it: a bug of ours", exit_code=BUG)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted(_STOPPED)


def main() -> None:
    """Run the check that the command line names."""
    from flows.doctor.table import CHECKS
    from infra.compute.processes import end_with_parent

    end_with_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    answer = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    (check,) = (check for check in CHECKS if check.name == sys.argv[1])
    found = findings(check, Subject.from_json(json.load(sys.stdin)))
    os.write(answer, json.dumps([one.as_json() for one in found]).encode())
    # Without Python's own end: threads of a library that hangs would hold it up.
    os._exit(0)


if __name__ == "__main__":
    main()
