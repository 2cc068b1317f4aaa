"""The holder of a lease: stored as JSON, compared by process, shown as a line."""

import contextlib
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from infra.compute.processes import has_ended, machine, start_time


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A run that holds a lease or waits for one; make a new one per block.

    Attributes:
        who: The run's name, for people.
        host: Its host's name, for people.
        pid: Its process ID.
        started: Its start time in ISO format and UTC, for people.
        machine: An identifier that two processes share if each sees the other's pid; None if unknown.
        process_start: The start of its process in the system's ticks; None if unknown.
        token: A random text that differs between any two holders, even of one process.
    """

    who: str
    host: str
    pid: int
    started: str
    machine: str | None
    process_start: int | None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def here(cls, who: str, started: datetime) -> "Holder":
        """Return a new holder for this process."""
        return cls(
            who=who,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=started.astimezone(UTC).isoformat(timespec="seconds"),
            machine=machine(),
            process_start=start_time(os.getpid()),
        )

    @property
    def is_gone(self) -> bool:
        """True if its process has certainly ended; False if it lives or is not visible to this process."""
        if self.machine is None or self.process_start is None or self.machine != machine():
            return False
        return has_ended(self.pid, self.process_start)

    @property
    def is_here(self) -> bool:
        """True if its process is certainly on this machine and lives."""
        known = self.machine is not None and self.process_start is not None and self.machine == machine()
        return known and not self.is_gone

    def to_bytes(self) -> bytes:
        """Return the holder as stored."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    def notice_to(self, waiter: "Holder") -> str:
        """Return the line about it that a waiter shows; it includes the date if the waiter started on another day."""
        since = ""
        with contextlib.suppress(ValueError, OverflowError):  # because a stored text may be no valid time
            began, today = (datetime.fromisoformat(text).astimezone(UTC) for text in (self.started, waiter.started))
            day = "" if began.date() == today.date() else f"{began:%Y-%m-%d} "
            since = f" (since {day}{began:%H:%M} UTC)"
        line = f"{self.who} on host {self.host}, process {self.pid}, is working on this{since}"
        return "".join(char if char.isprintable() else " " for char in line)


def parse_holder(data: bytes) -> Holder | None:
    """Return the holder that the bytes describe, or None if they are damaged."""
    try:
        holder = Holder(**json.loads(data))
    except (ValueError, TypeError):
        return None
    texts = isinstance(holder.who, str) and isinstance(holder.host, str) and isinstance(holder.started, str)
    numbers = isinstance(holder.pid, int) and isinstance(holder.process_start, int | None)
    return holder if texts and numbers and holder.pid > 0 else None
