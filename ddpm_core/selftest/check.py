"""One number that is known, beside what this installation computes for it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Check:
    """What was computed, what it must be, and how far apart the two may lie.

    Attributes:
        name: The family of computations that it is about.
        what: The quantity, with its unit where it has one.
        got: As computed here.
        expected: From a closed form or a published figure.
        tolerance: Largest |got - expected|, in the same unit, 0 or above.
    """

    name: str
    what: str
    got: float
    expected: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether |got - expected| <= tolerance; never for a number that is not finite."""
        return abs(self.got - self.expected) <= self.tolerance


def largest(errors: Tensor) -> float:
    """The largest absolute value of all elements; not a number if one of them is none."""
    return float(errors.abs().max())
