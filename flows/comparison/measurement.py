"""A figure with the conditions that it was measured under, and the reasons that forbid comparing two of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGITS = 8
_LONGEST_DIGEST = 20
# The names of conditions, in words.
_WORDS = MappingProxyType(
    {
        "data": "data",
        "samples": "N",
        "extractor": "extractor",
        "num_timesteps": "T",
        "images": "held-out images",
        "labels": "bound given labels",
        "seed": "noise seed",
        "draws": "draws of noise",
        "ema": "EMA half-life",
        "ema_lengths": "EMA lengths",
        "schedule": "schedule",
    }
)
# The effect of a condition that people may not expect.
_EFFECTS = MappingProxyType(
    {
        "data": "other images",
        "extractor": "other features",
        "num_timesteps": "its terms split the bound at other points",
        "schedule": "its terms split the bound at other points",
        "labels": "a network that knows the label needs fewer bits",
    }
)
# The starts of the names of Fréchet distances, and the end of the name of one extrapolated to infinitely many samples.
_BIASED = ("fd_", "fid", "sfd_", "sfid")
_LIMIT = "_infinity"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure of one run, or of several runs that differ in their seeds alone.

    Attributes:
        name: The figure's name, such as `bits_per_dim_fixed_large`.
        value: Its value.
        standard_error: Its standard error; None if it is not known.
        terms: The number of independent terms that the standard error rests on; None if it is not known.
        conditions: The circumstances that must be equal for two values to be comparable, by name.
        remarks: Circumstances that change the network or the noise, and leave the measure as it is, by name.
        per_image: The terms, one per held-out image, whose mean is the value; float64 [n]. None if they are not known.
        error_needs: The requirement of a standard error that is not met; empty if there is one, or nothing gives one.
        label: The name in words, for people.
        seeds: The number of seeds that the value is a mean over.
        deviation: The standard deviation over the seeds; None for a single seed.
        networks: The number of networks that the value is a mean over, trained with a seed each.
        between: The part of the standard error that comes from the spread of the networks; None for a single one.
    """

    name: str
    value: float
    standard_error: float | None = None
    terms: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    remarks: Mapping[str, Any] = field(default_factory=dict)
    per_image: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    error_needs: str = ""
    label: str = ""
    seeds: int = 1
    deviation: float | None = None
    networks: int = 1
    between: float | None = None


def alike(first: Measurement, second: Measurement) -> str | None:
    """Return the reason why two values must not be compared, or None if they may be.

    The reason names each condition that differs with both its values, the first one first, such as "N 512 against
    5,000: a Fréchet distance is biased by N".
    """
    if first.name != second.name:
        return f"{first.name} is another figure than {second.name}"
    return "; ".join(_contrasts(first.name, first.conditions, second.conditions)) or None


def remark(first: Measurement, second: Measurement) -> str:
    """Return the circumstances that differ and do not forbid a comparison, such as "T 20 against 40"; empty if none."""
    return "; ".join(_contrasts("", first.remarks, second.remarks))


def _contrasts(figure: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    names = [*first, *(name for name in second if name not in first)]
    return [
        _contrast(figure, name, first.get(name), second.get(name)) for name in names if _differ(name, first, second)
    ]


def _differ(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return (name in first) != (name in second) or first.get(name) != second.get(name)


def _contrast(figure: str, name: str, first: object, second: object) -> str:
    effect = _EFFECTS.get(name, "") if figure else ""
    if name == "samples" and figure.startswith(_BIASED) and not figure.endswith(_LIMIT):
        effect = "a Fréchet distance is biased by N"
    text = f"{_WORDS.get(name, name)} {_text(first)} against {_text(second)}"
    return f"{text}: {effect}" if effect else text


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    text = str(value)
    return text[:_DIGITS] if len(text) >= _LONGEST_DIGEST and text.isalnum() else text
