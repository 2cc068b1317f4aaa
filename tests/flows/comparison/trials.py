"""Synthetic runs whose figures have known terms."""

import math
from typing import Any

import numpy as np

from flows.comparison.measurement import Measurement
from flows.comparison.trial import Trial

BOUND = "bits_per_dim_x"


def bound(terms: Any, **conditions: Any) -> Measurement:
    """A bound with a term per held-out image."""
    values = np.asarray(terms, np.float64)
    return Measurement(
        name=BOUND,
        value=float(values.mean()),
        standard_error=float(values.std(ddof=1)) / math.sqrt(len(values)),
        terms=len(values),
        conditions=conditions,
        per_image=values,
    )


def distance(value: float, error: float | None = None, *, samples: int = 512) -> Measurement:
    """A distance; if it has a standard error, that rests on ten blocks."""
    terms = None if error is None else 10
    return Measurement(name="fid", value=value, standard_error=error, terms=terms, conditions={"samples": samples})


def trial(name: str, *found: Measurement, snapshot: str = "s" * 64, samples: str = "", **settings: Any) -> Trial:
    """A run with these figures and settings; a double underscore stands for the dot of a setting's name.

    Each has samples of its own unless `samples` says which.
    """
    return Trial(
        name=name,
        settings={setting.replace("__", "."): value for setting, value in settings.items()},
        inputs={"data": "d" * 64, "snapshot": snapshot, "samples": samples or name},
        environment={"train.device": "cpu"},
        measurements={measurement.name: measurement for measurement in found},
    )
