"""The table of a sweep: a row per combination with the mean over its seeds, and the row that is best by a figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flows.comparison.difference import Difference, Verdict, difference
from flows.comparison.measurement import Measurement
from flows.comparison.trial import Trial, mean_over_seeds
from flows.comparison.view import with_error
from flows.metrics.conditions import higher_is_better
from flows.sweep.grid import Combination, combination_text
from infra.errors import ConfigError

# A setting of these stages makes another network.
_OF_TRAINING = ("prepare.", "train.")
_JUDGED = (Verdict.BEYOND, Verdict.WITHIN)
# So many of the runs that are left out are named.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """A combination with its figures.

    Attributes:
        settings: The values of the grid's settings.
        planned: The number of its runs.
        finished: The names of those that are finished.
        measurements: The figures, each the mean over the finished runs.
        difference: The difference of the ranking figure to the best row; None for the best row, and without a figure.
    """

    settings: Combination
    planned: int
    finished: Sequence[str] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=lambda: MappingProxyType({}))
    difference: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """The rows of a sweep, in the order of its grid.

    Attributes:
        paths: The settings of the grid.
        rows: The combinations.
        figures: The figures that people read first, by name, with their names in words.
        by: The figure that ranks the rows; empty if no figure can.
        best: The place of the best row; None if no row has the figure, or two rows must not be compared.
        note: A sentence about the best row and its lead, or the reason why there is none.
    """

    paths: Sequence[str]
    rows: Sequence[Row]
    figures: Mapping[str, str]
    by: str
    best: int | None
    note: str


def make_row(settings: Combination, planned: int, trials: Sequence[Trial]) -> Row:
    """Return the row of a combination.

    Args:
        settings: The values of the grid's settings.
        planned: The number of its runs.
        trials: Those of its runs that are finished.
    """
    if not trials:
        return Row(settings=settings, planned=planned)
    mean = mean_over_seeds(trials)
    finished = mean.runs or (mean.name,)
    return Row(settings=settings, planned=planned, finished=finished, measurements=mean.measurements)


def make_table(paths: Sequence[str], rows: Sequence[Row], headlines: Sequence[str], by: str = "") -> SweepTable:
    """Rank rows by a figure and compare each with the best one.

    Args:
        paths: The settings of the grid.
        rows: The combinations.
        headlines: The names of the figures that people read first.
        by: The figure that ranks; empty for the first headline that has a direction and, if any does, a standard error.

    Raises:
        ConfigError: If there are figures, and `by` is not among them or has no direction.
    """
    measured = [name for name in headlines if any(name in row.measurements for row in rows)]
    labels = {name: next(row.measurements[name].label for row in rows if name in row.measurements) for name in measured}
    by = _checked(by, rows) if by else _ranking(measured, rows)
    order = sorted(_with_figure(rows, by), key=lambda place: _badness(rows[place].measurements[by]))
    if not order:
        note = "no run is finished" if not measured else "no figure of these runs has a better direction"
        return SweepTable(paths=paths, rows=rows, figures=labels, by=by, best=None, note=note)
    best, *others = order
    compared = list(rows)
    for place in others:
        apart = difference(rows[best].measurements[by], rows[place].measurements[by])
        compared[place] = replace(rows[place], difference=apart)
    differences = (row.difference for row in compared)
    unlike = next((each.unlike for each in differences if each and each.unlike), "")
    return SweepTable(
        paths=paths,
        rows=compared,
        figures=labels if by in labels else {**labels, by: rows[best].measurements[by].label or by},
        by=by,
        best=None if unlike else best,
        note=f"no row is best by {by}: {unlike}" if unlike else _lead(paths, by, compared, best, others),
    )


def without_earlier(table: SweepTable, names: Sequence[str]) -> SweepTable:
    """Return a table whose note says which finished runs it leaves out, because an earlier release made them."""
    if not names:
        return table
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    why = f"left out, as made by an earlier release's rules: {', '.join(names[:_NAMED])}{rest}"
    return replace(table, note=f"{table.note}; {why}; `ddpm run` with their settings makes them anew")


def figure_text(measurement: Measurement | None) -> str:
    """Return a figure as people read it, such as `3.10 ± 0.12`; empty if there is none."""
    return "" if measurement is None else with_error(measurement.value, measurement.standard_error)


def _with_figure(rows: Sequence[Row], by: str) -> list[int]:
    found = enumerate(rows)
    return [place for place, row in found if by in row.measurements and math.isfinite(row.measurements[by].value)]


def _badness(measurement: Measurement) -> float:
    """Return a number that is smallest for the best value."""
    return -measurement.value if higher_is_better(measurement.name) else measurement.value


def _checked(by: str, rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.measurements))
    if names and by not in names:
        ranking = [name for name in names if higher_is_better(name) is not None]
        raise ConfigError(f"no such figure: {by}", item="--by", remedy=f"choose one of {', '.join(ranking)}")
    if higher_is_better(by) is None:
        raise ConfigError(f"no larger or smaller {by} is better", item="--by", remedy="choose another figure")
    return by


def _ranking(measured: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the first figure with a direction and a standard error in all rows that have it, else with a direction."""
    directed = [name for name in measured if higher_is_better(name) is not None]
    found = {name: [row.measurements[name] for row in rows if name in row.measurements] for name in directed}
    with_error = [name for name in directed if all(one.standard_error is not None for one in found[name])]
    return next(iter(with_error or directed), "")


def _lead(paths: Sequence[str], by: str, rows: Sequence[Row], best: int, others: Sequence[int]) -> str:
    """Return a sentence about the best row, its lead over the next one, and the rows that may be as good."""
    direction = "larger" if higher_is_better(by) else "smaller"
    line = f"best by {by} ({direction} is better): {combination_text(rows[best].settings)}"
    line += f", {figure_text(rows[best].measurements[by])}"
    if not others:
        return line
    nearest = rows[others[0]]
    apart = nearest.difference
    assert apart is not None, "every row with the figure is compared with the best one"
    amount = with_error(abs(apart.value), apart.standard_error)
    line += f"; its lead over {combination_text(nearest.settings)} is {amount}, "
    alone = rows[best].measurements[by].networks == 1 and any(path.startswith(_OF_TRAINING) for path in paths)
    of_one = "; other trainings of the same settings may differ, and more --seeds tell how far"
    if apart.verdict not in _JUDGED:
        why = f" ({apart.remark})" if apart.remark else ""
        return line + (
            f"and has no interval{why}: more --seeds give one" if apart.verdict != Verdict.EQUAL else "a tie"
        )
    if apart.verdict == Verdict.BEYOND:
        return line + "beyond the interval" + of_one * alone
    as_good = sum(bool(row.difference and row.difference.verdict == Verdict.WITHIN) for row in rows)
    return line + f"within the interval: {as_good} other row{'s' * (as_good > 1)} may be as good{of_one * alone}"
