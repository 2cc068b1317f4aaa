"""The difference between two values of a figure, its standard error, and whether it exceeds its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flows.comparison.measurement import Measurement, alike, remark
from infra.interval import degrees_of_difference, interval_factor


class Verdict(StrEnum):
    """The outcome of comparing two values."""

    BEYOND = "beyond"
    WITHIN = "within"
    EQUAL = "equal"
    NO_INTERVAL = "no interval"
    UNLIKE = "unlike"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second value minus the first.

    Attributes:
        value: The difference.
        standard_error: Its standard error; None if it is not known.
        factor: The number of standard errors that make the interval.
        paired: The number of images whose terms were compared one by one; 0 if the values were compared as wholes.
        unlike: The reason why the two values must not be compared; empty if they may be.
        remark: Circumstances that differ and do not forbid the comparison.
    """

    value: float
    standard_error: float | None = None
    factor: float = 2.0
    paired: int = 0
    unlike: str = ""
    remark: str = ""

    @property
    def interval(self) -> float | None:
        """Half the width of the interval around the difference; None if it is not known."""
        return None if self.standard_error is None else self.factor * self.standard_error

    @property
    def verdict(self) -> Verdict:
        """`beyond` if the difference exceeds its interval, else the reason why not in one word."""
        if self.unlike:
            return Verdict.UNLIKE
        if self.value == 0 and not self.standard_error:
            return Verdict.EQUAL
        if self.interval is None or not math.isfinite(self.value) or not math.isfinite(self.interval):
            return Verdict.NO_INTERVAL
        return Verdict.BEYOND if abs(self.value) > self.interval else Verdict.WITHIN


def difference(first: Measurement, second: Measurement) -> Difference:
    """Return the second value minus the first, with its standard error.

    If both have a term per image, the standard error is that of the mean of the terms' differences, since values that
    are alike rest on the same images. Most of the spread of the terms is that of the images. It cancels, so this
    interval is the narrower one. Otherwise the values count as independent: the standard error is
    sqrt(SE_1^2 + SE_2^2), and its degrees of freedom follow from Welch (1947) and Satterthwaite (1946). Unlike values
    have a difference and no interval.

    If both are means over several trainings, the spread of the networks is a part of the error on each side, also of
    paired terms: the seeds of two recipes are independent. One training beside several has no interval, because nothing
    tells how far another training of it would be.
    """
    value = second.value - first.value
    reason = alike(first, second)
    if reason is not None:
        return Difference(value=value, unlike=reason)
    note = remark(first, second)
    if (first.networks == 1) != (second.networks == 1):
        trainings = f"trainings {first.networks} against {second.networks}: one alone has no spread"
        return Difference(value=value, remark="; ".join(filter(None, (trainings, note))))
    apart = _apart(first, second)
    if apart is not None:
        return _paired(value, apart, [(side.between, side.networks) for side in (first, second)], note)
    if first.standard_error is None or second.standard_error is None:
        needs = next(filter(None, (first.error_needs, second.error_needs)), "")
        notes = (f"a standard error needs {needs}" if needs else "", note)
        return Difference(value=value, remark="; ".join(filter(None, notes)))
    parts = [(first.standard_error, first.terms), (second.standard_error, second.terms)]
    factor = interval_factor(degrees_of_difference(parts))
    error = math.hypot(first.standard_error, second.standard_error)
    return Difference(value=value, standard_error=error, factor=factor, remark=note)


def _paired(
    value: float, apart: NDArray[np.float64], between: Sequence[tuple[float | None, int]], note: str
) -> Difference:
    """Return the difference of paired terms; its error has a part for the images and one per side for the networks."""
    count = len(apart)
    parts = [(float(apart.std(ddof=1)) / math.sqrt(count), count)]
    parts += [(error, networks) for error, networks in between if error is not None]
    degrees = degrees_of_difference(parts) if len(parts) > 1 else count - 1
    error = math.hypot(*(error for error, _ in parts))
    return Difference(value=value, standard_error=error, factor=interval_factor(degrees), paired=count, remark=note)


def _apart(first: Measurement, second: Measurement) -> NDArray[np.float64] | None:
    """Return the differences of the terms per image, or None if there are no such terms on both sides."""
    if first.per_image is None or second.per_image is None or len(first.per_image) != len(second.per_image):
        return None
    return second.per_image - first.per_image if len(first.per_image) > 1 else None
