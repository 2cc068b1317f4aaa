"""A check as the examination knows it, and the subject that it looks at."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from flows.doctor.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The places that checks look at, beside this machine and its variables.

    Attributes:
        root: The root of all outputs, as the user names it.
        sources: Places of images, of which those on S3 are looked at.
    """

    root: str
    sources: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the subject that `as_json` wrote."""
        return cls(root=values["root"], sources=tuple(values["sources"]))


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: Its name, the first word of its lines.
        about: The question that it answers.
        run: Yields findings; an error of ours counts as one that is wrong.
        limit_s: The time after which it counts as unanswered.
    """

    name: str
    about: str
    run: Callable[[Subject], Iterable[Finding]]
    limit_s: float = 10.0
