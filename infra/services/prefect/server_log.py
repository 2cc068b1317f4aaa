"""The log of our own server, read for errors while it grows."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

# A record of Prefect's log, or of uvicorn's.
_RECORD = re.compile(r"^(?:[\d:.]+ \| (?P<level>[A-Z]+) *\| |(?P<uvicorn>[A-Z]+): +)(?P<said>.*)$")
_ERRORS = ("ERROR", "CRITICAL")
_TRACEBACK = "Traceback (most recent call last):"
# Ids, numbers and the blanks in front of them: two reports of one error may differ in these.
_DETAIL = re.compile(r"\s*(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|\d+)")
_SHOWN = 300


class ErrorLines:
    """The errors that a server's log reports, each once.

    An error is known by the exception at the end of its last traceback, else by its own line. A traceback may go on as
    long as the log grows, so its error is reported by the next record or by the first look that finds nothing new.

    Args:
        log: The file; more is appended to it while it is read.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self._rest = b""
        self._error = ""
        self._is_error, self._in_traceback = True, False
        self._known: set[str] = set()

    def fresh(self) -> list[str]:
        """Return errors that were not there before, one line per error."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._read:
                self._read, self._rest = 0, b""
            file.seek(self._read)
            data = file.read()
            self._read += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            said = [error for line in lines for error in self._judge(line.decode(errors="replace").rstrip())]
            return said if data else [*self._settled()]
        return []

    def _judge(self, line: str) -> Iterator[str]:
        record = _RECORD.match(line)
        if record:
            yield from self._settled()
            self._is_error = (record["level"] or record["uvicorn"]) in _ERRORS
            self._in_traceback = False
            self._error = record["said"] if self._is_error else ""
        if line.endswith(_TRACEBACK):
            self._in_traceback = self._is_error
        elif self._in_traceback and line and not line.startswith(" "):
            self._error, self._in_traceback = line, False

    def _settled(self) -> Iterator[str]:
        """The error that is complete now, if it is new."""
        error, self._error = self._error[:_SHOWN], ""
        kind = _DETAIL.sub("#", error)
        if error and kind not in self._known:
            self._known.add(kind)
            yield error
