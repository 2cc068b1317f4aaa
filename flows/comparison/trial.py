"""One side of a comparison: a finished run, or the runs that differ from it in their seeds alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.comparison.measurement import Measurement
from infra.interval import degrees_of_difference

# The settings that choose the noise of samples and of the bound; the network does not depend on them.
SEEDS = ("sample.seed", "evaluate.seed")
TRAINING_SEED = "train.seed"
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
        rules: The format version of each stage's output, by names such as `rules of train`; an earlier release of this
            program may have made the same settings into another result.
        runs: The names of the runs, if this is the mean over several.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: dict[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    measurements: Mapping[str, Measurement] = field(default_factory=lambda: MappingProxyType({}))
    rules: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[str, ...] = ()


def of_latest_rules(trials: Sequence[Trial]) -> list[Trial]:
    """Return the runs whose outputs were made by the latest rules among them; only these can be ranked together."""
    latest = max((_versions(trial) for trial in trials), default=())
    return [trial for trial in trials if _versions(trial) == latest]


def replicates(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group the runs that differ in their seeds alone, in the order of each group's first run.

    They share data, snapshot, rules and every setting except `sample.seed` and `evaluate.seed`. A run whose seeds are
    those of another one in its group begins a group of its own, because it would count twice.
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

    The seed of training may differ too, so that each run has a network of its own.

    The standard deviation of a figure is that over its seeds. Its standard error is that over the held-out images, if
    there is a term per image: each image's terms are averaged over the seeds first, which leaves less of the noise. For
    any other figure it is the standard deviation over the root of the number of different samples, each with its mean
    over the seeds of the evaluation: these cut the same samples into other blocks and groups, and draw none anew. If
    all runs have the same samples, the mean of the runs' own errors stays. A seed that a figure does not depend on
    gives the same value again, and counts once.

    If the networks differ, the standard error has a second part: the standard deviation of the networks' means over the
    root of their number. It is added in squares, which counts the noise of single images twice and makes the error a
    little too large.
    """
    first, *others = group
    if not others:
        return first
    names = [name for name in first.measurements if all(name in other.measurements for other in others)]
    several_networks = len({trial.inputs["snapshot"] for trial in group}) > 1
    seeds = (TRAINING_SEED, *SEEDS) if several_networks else SEEDS
    settings = {name: value for name, value in first.settings.items() if name not in seeds}
    draws = [(trial.inputs["snapshot"] if several_networks else "", trial.inputs["samples"]) for trial in group]
    return replace(
        first,
        name=f"{first.name} and {len(others)} more seed{'s' if len(others) > 1 else ''}",
        settings=settings | {name: tuple(trial.settings.get(name) for trial in group) for name in seeds},
        inputs=first.inputs
        | {name: _one_of([trial.inputs[name] for trial in group]) for name in ("snapshot", *_OF_SEEDS)},
        measurements={
            name: _mean([(trial.measurements[name], draw) for trial, draw in zip(group, draws, strict=True)])
            for name in names
        },
        runs=tuple(trial.name for trial in group),
    )


def _one_of(digests: Sequence[str]) -> str:
    return digests[0] if len(set(digests)) == 1 else "several"


def _mean(found: Sequence[tuple[Measurement, tuple[str, str]]]) -> Measurement:
    """Return the mean of measurements, each with the digests of its network, if they differ, and of its samples."""
    distinct = _distinct(found)
    measurements = [measurement for measurement, _ in distinct]
    first, count = measurements[0], len(measurements)
    if count == 1:
        return first
    values = np.array([measurement.value for measurement in measurements])
    noise = {"seed": ", ".join(str(measurement.remarks.get("seed")) for measurement in measurements)}
    remarks = dict(first.remarks) | (noise if "seed" in first.remarks else {})
    mean = replace(first, seeds=count, deviation=float(values.std(ddof=1)), remarks=remarks)
    of_networks = _means([(measurement.value, network) for measurement, (network, _) in distinct])
    if len(of_networks) > 1:
        mean = replace(mean, networks=len(of_networks), between=_error(of_networks))
    if len(set(values)) == 1:
        return mean  # with the first one's own error: equal values show no spread, and have an error all the same
    rows = [measurement.per_image for measurement in measurements if measurement.per_image is not None]
    if len(rows) == count and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
        return _mean_over_images(mean, values, np.mean(rows, axis=0))
    of_draws = of_networks
    if mean.between is None:
        of_draws = _means([(measurement.value, samples) for measurement, (_, samples) in distinct])
    mean = replace(mean, value=float(of_draws.mean()), per_image=None)
    if len(of_draws) == 1:
        errors = [measurement.standard_error for measurement in measurements]
        known = [error for error in errors if error is not None]
        return replace(mean, standard_error=float(np.mean(known)) if len(known) == count else None)
    return replace(mean, standard_error=_error(of_draws), terms=len(of_draws))


def _distinct(
    found: Sequence[tuple[Measurement, tuple[str, str]]],
) -> list[tuple[Measurement, tuple[str, str]]]:
    """Leave out measurements of a network that a seed without effect repeats.

    Equal values of one network are one measurement if all of its values are equal, or if the figure is over held-out
    images, which the samples do not change. Else they are a tie, as shares of few images have, if the samples differ.
    """
    kept: dict[tuple[str, float, str], tuple[Measurement, tuple[str, str]]] = {}
    for measurement, draw in found:
        network, samples = draw
        of_network = {other.value for other, (its_network, _) in found if its_network == network}
        is_draw = len(of_network) > 1 and measurement.per_image is None
        kept.setdefault((network, measurement.value, samples if is_draw else ""), (measurement, draw))
    return list(kept.values())


def _mean_over_images(mean: Measurement, values: NDArray[np.float64], per_image: NDArray[np.float64]) -> Measurement:
    """Return a mean with its error over images, and over networks if there are several."""
    parts = [(_error(per_image), len(per_image))]
    if mean.between is not None:
        parts.append((mean.between, mean.networks))
    terms = len(per_image)
    if len(parts) > 1 and math.isfinite(degrees := degrees_of_difference(parts)):
        terms = math.floor(degrees) + 1
    return replace(
        mean,
        value=float(values.mean()),
        per_image=per_image,
        standard_error=math.hypot(*(error for error, _ in parts)),
        terms=terms,
    )


def _means(found: Sequence[tuple[float, str]]) -> NDArray[np.float64]:
    """Return the mean of the values of each name."""
    by_name: dict[str, list[float]] = {}
    for value, name in found:
        by_name.setdefault(name, []).append(value)
    return np.array([np.mean(some) for some in by_name.values()])


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _versions(trial: Trial) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(trial.rules.items()))


def _without_seeds(trial: Trial) -> tuple[dict[str, Any], dict[str, str], Mapping[str, int]]:
    settings = {name: value for name, value in trial.settings.items() if name not in SEEDS}
    return settings, {name: digest for name, digest in trial.inputs.items() if name not in _OF_SEEDS}, trial.rules


def _seeds(trial: Trial) -> tuple[Any, ...]:
    return tuple(trial.settings.get(name) for name in SEEDS)
