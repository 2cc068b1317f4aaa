"""The comparison of several runs: what differs, each figure against the baseline, and the same as flat rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flows.comparison.difference import Difference, Verdict, difference
from flows.comparison.measurement import Measurement
from flows.comparison.trial import Trial

COLUMNS = (
    "kind", "name", "run", "value", "standard_error", "seeds", "deviation", "baseline", "difference",
    "difference_standard_error", "interval", "verdict", "paired_images", "reason",
)  # fmt: skip
_JUDGED = (Verdict.BEYOND, Verdict.WITHIN)
# From so many judged differences on, one beyond its interval is to be expected although nothing differs.
_MANY = 10


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure of one run.

    Attributes:
        measurement: The figure; None if the run has none of that name.
        difference: Its difference to the baseline; None for the baseline, and if one of the two has no such figure.
    """

    measurement: Measurement | None
    difference: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Finished runs side by side; the first is the baseline.

    Attributes:
        trials: The runs.
        settings: The settings that differ, by their full names: a value per run, None if a run has no such setting.
        equal_settings: The number of settings that are equal in all runs.
        inputs: The inputs and the stages' rules that differ, by name: a digest or a version per run.
        environment: The software and hardware that differ, by name.
        figures: Each figure by name: a cell per run.
    """

    trials: Sequence[Trial]
    settings: Mapping[str, Sequence[Any]]
    equal_settings: int
    inputs: Mapping[str, Sequence[Any]]
    environment: Mapping[str, Sequence[Any]]
    figures: Mapping[str, Sequence[Cell]]

    @property
    def caution(self) -> str:
        """A sentence about differences by chance, if there are many; else empty."""
        differences = [cell.difference for cells in self.figures.values() for cell in cells if cell.difference]
        judged = sum(difference.verdict in _JUDGED for difference in differences)
        if judged < _MANY:
            return ""
        return f"Of {judged} differences with an interval, about 1 in 20 exceeds its interval by chance alone."

    def rows(self) -> list[dict[str, Any]]:
        """Return everything as flat rows, one per name and run, each with all of `COLUMNS`; None for what is not there.

        `kind` is `setting`, `input`, `environment` or `figure`.
        """
        found = []
        parts = (("setting", self.settings), ("input", self.inputs), ("environment", self.environment))
        for kind, part in parts:
            for name, values in part.items():
                found += [
                    _row(kind=kind, name=name, run=trial.name, value=value)
                    for trial, value in zip(self.trials, values, strict=True)
                ]
        for name, cells in self.figures.items():
            found += [
                _row(kind="figure", name=name, run=trial.name, **self._figure(cell))
                for trial, cell in zip(self.trials, cells, strict=True)
            ]
        return found

    def _figure(self, cell: Cell) -> Mapping[str, Any]:
        measurement, apart = cell.measurement, cell.difference
        if measurement is None:
            return {}
        values = {
            "value": measurement.value,
            "standard_error": measurement.standard_error,
            "seeds": measurement.seeds,
            "deviation": measurement.deviation,
        }
        if apart is None:
            return values
        return values | {
            "baseline": self.trials[0].name,
            "difference": apart.value,
            "difference_standard_error": apart.standard_error,
            "interval": apart.interval,
            "verdict": apart.verdict.value,
            "paired_images": apart.paired or None,
            "reason": apart.unlike or apart.remark or None,
        }


def compare_trials(trials: Sequence[Trial]) -> Comparison:
    """Compare runs; the first is the baseline.

    Raises:
        ValueError: If there is no run.
    """
    if not trials:
        raise ValueError("there is no run to compare")
    settings = _side_by_side([trial.settings for trial in trials])
    differing = _differing(settings)
    names = dict.fromkeys(name for trial in trials for name in trial.measurements)
    return Comparison(
        trials=trials,
        settings=differing,
        equal_settings=len(settings) - len(differing),
        inputs=_differing(_side_by_side([{**trial.inputs, **trial.rules} for trial in trials])),
        environment=_differing(_side_by_side([trial.environment for trial in trials])),
        figures={name: _cells([trial.measurements.get(name) for trial in trials]) for name in names},
    )


def _cells(found: Sequence[Measurement | None]) -> list[Cell]:
    baseline, *others = found
    cells = [Cell(measurement=baseline)]
    for other in others:
        apart = difference(baseline, other) if baseline is not None and other is not None else None
        cells.append(Cell(measurement=other, difference=apart))
    return cells


def _side_by_side(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: [part.get(name) for part in parts] for name in names}


def _differing(values: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _row(**values: object) -> dict[str, Any]:
    return MappingProxyType(dict.fromkeys(COLUMNS)) | values
