"""One side of a comparison: a finished run, or the runs that differ from it in their seeds alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from flows.comparison.measurement import Measurement

# The settings that choose the noise of samples and of the bound; the network does not depend on them.
SEEDS = ("sample.seed", "evaluate.seed")
_OF_SEEDS = ("samples",)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished run as a comparison sees it.

    Attributes:
        name: The run's name.
        settings: Every setting that the results depend on, by its full name.
        inputs: The digests of `data`, `snapshot` and `samples`, and of the `initial` network if there is one.
        environment: The software and hardware of each stage, by names such as `train.device`.
        measurements: The figures by name, most important first.
        runs: The names of the runs, if this is the mean over several.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: dict[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    measurements: Mapping[str, Measurement] = field(default_factory=lambda: MappingProxyType({}))
    runs: tuple[str, ...] = ()


def replicates(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group the runs that differ in their seeds alone, in the order of each group's first run.

    They share data, snapshot and every setting except `sample.seed` and `evaluate.seed`. A run whose seeds are those of
    another one in its group begins a group of its own, because it would count twice.
    """
    groups: list[list[Trial]] = []
    for trial in trials:
        for group in groups:
            if _without_seeds(group[0]) == _without_seeds(trial) and _seeds(trial) not in map(_seeds, group):
                group.append(trial)
                break
        else:
            groups.append([trial])
    return groups


def mean_over_seeds(group: Sequence[Trial]) -> Trial:
    """Return the mean of runs that differ in their seeds alone; a single run is returned as it is.

    The standard deviation of a figure is that over its seeds. Its standard error is that over the held-out images, if
    there is a term per image: each image's terms are averaged over the seeds first, which leaves less of the noise. For
    any other figure it is the standard deviation over the root of the number of seeds. A seed that a figure does not
    depend on gives the same value again, and counts once.
    """
    first, *others = group
    if not others:
        return first
    names = [name for name in first.measurements if all(name in other.measurements for other in others)]
    settings = {name: value for name, value in first.settings.items() if name not in SEEDS}
    return replace(
        first,
        name=f"{first.name} and {len(others)} more seed{'s' if len(others) > 1 else ''}",
        settings=settings | {name: tuple(trial.settings.get(name) for trial in group) for name in SEEDS},
        inputs=first.inputs | dict.fromkeys(_OF_SEEDS, "several"),
        measurements={name: _mean([trial.measurements[name] for trial in group]) for name in names},
        runs=tuple(trial.name for trial in group),
    )


def _mean(found: Sequence[Measurement]) -> Measurement:
    distinct = list({measurement.value: measurement for measurement in reversed(found)}.values())[::-1]
    first, count = distinct[0], len(distinct)
    if count == 1:
        return first
    values = np.array([measurement.value for measurement in distinct])
    deviation = float(values.std(ddof=1))
    noise = {"seed": ", ".join(str(measurement.remarks.get("seed")) for measurement in distinct)}
    remarks = dict(first.remarks) | (noise if "seed" in first.remarks else {})
    mean = replace(first, value=float(values.mean()), seeds=count, deviation=deviation, remarks=remarks)
    rows = [measurement.per_image for measurement in distinct if measurement.per_image is not None]
    if len(rows) == count and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
        per_image = np.mean(rows, axis=0)
        error = float(per_image.std(ddof=1)) / math.sqrt(len(per_image))
        return replace(mean, per_image=per_image, standard_error=error, terms=len(per_image))
    return replace(mean, per_image=None, standard_error=deviation / math.sqrt(count), terms=count)


def _without_seeds(trial: Trial) -> tuple[dict[str, Any], dict[str, str]]:
    settings = {name: value for name, value in trial.settings.items() if name not in SEEDS}
    return settings, {name: digest for name, digest in trial.inputs.items() if name not in _OF_SEEDS}


def _seeds(trial: Trial) -> tuple[Any, ...]:
    return tuple(trial.settings.get(name) for name in SEEDS)
