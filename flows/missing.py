"""Outputs that are not sealed yet, and how much of the work on them is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.outputs.plan import Output


@dataclass(frozen=True, kw_only=True)
class Amount:
    """The amount of work on an output.

    Attributes:
        total: The amount that seals the goal, in `unit`.
        unit: The unit of the amount, such as "images".
        each: The amount of one committed unit, the last of which may be smaller.
    """

    total: int
    unit: str = "images"
    each: int = 1

    def done(self, recorded: Mapping[str, int]) -> int:
        """Return the amount that is done.

        Args:
            recorded: The work that is done, in this unit or as a number of committed "units".
        """
        return min(recorded.get(self.unit, recorded.get("units", 0) * self.each), self.total)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """An output that is not sealed.

    Attributes:
        output: The output.
        goal: The goal that no manifest seals.
        amount: The amount of work in all; None if the stage does not count it.
        recorded: Returns the work that is done, as `Amount.done` takes it.
        check: Raises if this run may not go on with the output, because it was begun in another environment.
    """

    output: Output
    goal: Mapping[str, int]
    amount: Amount | None
    recorded: Callable[[], Mapping[str, int]]
    check: Callable[[], None] = lambda: None

    @property
    def done(self) -> int:
        """The amount of work that is done; 0 if it is not counted."""
        return self.amount.done(self.recorded()) if self.amount else 0


def units_done(output: Output) -> dict[str, int]:
    """Return the number of an output's committed units, as an amount of work done."""
    return {"units": len(output.records("units"))}
