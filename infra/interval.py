"""The half-width of an interval in standard errors: 2 for many terms, more for few."""

import math
from collections.abc import Sequence

# The share of a normal distribution beyond 2 standard deviations; about 1 in 22.
TAIL = math.erfc(math.sqrt(2))
_MANY = 1000


def interval_factor(degrees: float) -> float:
    """Return the number of standard errors that a difference must exceed.

    A standard error that was estimated from few terms is itself uncertain. Student's t accounts for that: the factor is
    exceeded by chance as often as 2 standard deviations of a normal distribution are, in 4.55 % of all cases.

    Args:
        degrees: Degrees of freedom of the standard error, at least 1: one less than the number of its terms. Between
            whole numbers the factor is interpolated, which makes it at most 3 % too large. Above 1,000 the factor is 2
            to three digits, and 2 is returned.

    Raises:
        ValueError: If there are fewer than 1.
    """
    if not degrees >= 1:
        raise ValueError(f"a standard error needs at least 1 degree of freedom; got {degrees}")
    if degrees > _MANY:
        return 2.0
    below, above = math.floor(degrees), math.ceil(degrees)
    if below == above:
        return _quantile(below)
    # The logarithm is nearly linear in 1 / degrees.
    weight = (1 / degrees - 1 / above) / (1 / below - 1 / above)
    return float(_quantile(above) ** (1 - weight) * _quantile(below) ** weight)


def degrees_of_difference(parts: Sequence[tuple[float, int | None]]) -> float:
    """Return the degrees of freedom of the standard error of a difference (Welch 1947, Satterthwaite 1946).

    Args:
        parts: For each independent part its standard error, and the number of terms that this rests on; None if it is
            not known, which counts as many. The parts of a difference are its two values.
    """
    total = sum(error**2 for error, _ in parts)
    spread = sum(error**4 / (terms - 1) for error, terms in parts if terms is not None and terms > 1)
    return max(total**2 / spread, 1.0) if spread and math.isfinite(spread) else math.inf


def _quantile(degrees: int) -> float:
    """Return the t that Student's |T| exceeds with probability `TAIL`, by bisection."""
    low, high = 2.0, 16.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < 1 - TAIL else (low, middle)
    return high


def _inside(t: float, degrees: int) -> float:
    """Return P(|T| < t) of Student's t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for number in range(1 + odd, degrees, 2):
        total += term
        term *= number / (number + 1) * cosine**2
    within = math.sin(angle) * total
    return 2 / math.pi * (angle + within) if odd else within
