"""The comparison of a computed number with its known value."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Check:
    """A computed number, its known value, and how far apart the two may be.

    Attributes:
        name: The family of computations that it tests.
        what: The quantity, with its unit if it has one.
        got: The number computed on this installation.
        expected: The number by a closed form or a published figure.
        tolerance: Largest |got - expected|, in the same unit, 0 or above.
    """

    name: str
    what: str
    got: float
    expected: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """True if |got - expected| <= tolerance; False for a number that is not finite."""
        return abs(self.got - self.expected) <= self.tolerance


def largest(errors: Tensor) -> float:
    """The largest absolute value of all elements; NaN if one of them is NaN."""
    return float(errors.abs().max())
