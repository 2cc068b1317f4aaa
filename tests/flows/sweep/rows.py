"""Synthetic rows of a sweep, whose figures are known."""

from flows.comparison.measurement import Measurement
from flows.sweep.table import Row, SweepTable, make_table
from tests.flows.comparison.trials import distance

PATHS = ("train.learning_rate",)


def row(rate: object, *found: Measurement, planned: int = 1) -> Row:
    """A combination with these figures."""
    return Row(
        settings={PATHS[0]: rate},
        planned=planned,
        finished=("x",) if found else (),
        measurements={measurement.name: measurement for measurement in found},
    )


def distances(*values: tuple[float, float | None], by: str = "") -> SweepTable:
    """A table of distances, each with its standard error; the learning rates are 1, 2, 3, ..."""
    rows = [row(number, distance(*value)) for number, value in enumerate(values, 1)]
    return make_table(PATHS, rows, ["fid"], by)
