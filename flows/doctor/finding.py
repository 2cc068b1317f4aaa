"""The findings of checks: fine, worth a warning, or wrong with the exit code of its kind."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from infra.errors import DdpmError


class Level(StrEnum):
    """The weight of a finding, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding, which is one line.

    Attributes:
        level: How good or bad it is.
        cause: The state that was found, in words.
        item: The setting, file, node or server it is about.
        remedy: The user's next step.
        exit_code: The exit code of its kind; 0 unless something is wrong.
        check: The check; the examination fills it in.
    """

    level: Level
    cause: str
    item: str = ""
    remedy: str = ""
    exit_code: int = 0
    check: str = ""

    def __str__(self) -> str:
        line = ": ".join(filter(None, (self.item, self.cause))) + (f" - {self.remedy}" if self.remedy else "")
        return "".join(char if char.isprintable() else " " for char in line)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the finding that `as_json` wrote."""
        return cls(**{**values, "level": Level(values["level"])})


def fine(cause: str, *, item: str = "", remedy: str = "") -> Finding:
    """Return a finding that all is well; a remedy names a step for those who want more."""
    return Finding(level=Level.OK, cause=cause, item=item, remedy=remedy)


def doubt(cause: str, *, item: str = "", remedy: str = "") -> Finding:
    """Return a warning."""
    return Finding(level=Level.WARNING, cause=cause, item=item, remedy=remedy)


def wrong(error: DdpmError) -> Finding:
    """Return the finding for an error, with its exit code."""
    return Finding(
        level=Level.WRONG, cause=error.cause, item=error.item, remedy=error.remedy, exit_code=error.exit_code
    )
