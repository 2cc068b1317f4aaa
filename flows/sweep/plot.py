"""The plot of a sweep: its figures over a setting of the grid, or one below the other if no setting is a number."""

from collections.abc import Sequence

from flows.comparison.measurement import Measurement
from flows.comparison.view import letter_of
from flows.pages import palette
from flows.pages.pictures import Value, intervals, points
from flows.sweep.grid import value_text
from flows.sweep.table import Row, SweepTable

_MOST_PANELS = 4
# Beyond this ratio of the largest to the smallest value an axis is logarithmic.
_LOG_RATIO = 4
_MOST_PLACES = 8
_LONGEST_LABEL = 28


def sweep_plot(table: SweepTable) -> bytes | None:
    """Draw the figures of a sweep with their standard errors, the ranking one first; None if no run is finished.

    The x axis is the first setting of the grid with numbers as values. The other settings make the series. If there is
    no such setting, or if there are more series than colours, the rows stand one below the other by their letters.

    Args:
        table: The rows; the best one is marked.
    """
    names = [name for name in dict.fromkeys((table.by, *table.figures)) if name in table.figures][:_MOST_PANELS]
    if not any(row.measurements for row in table.rows) or not names:
        return None
    path = _numeric_path(table)
    others = [other for other in table.paths if other != path]
    series = dict.fromkeys(_series(row, others) for row in table.rows)
    if not path or len(series) > len(palette.SERIES):
        return intervals({_axis(table, name): _values(table, name) for name in names})
    places = sorted({float(row.settings[path]) for row in table.rows})
    panels: dict[str, dict[str, list[Value]]] = {}
    for name in names:
        found: dict[str, list[Value]] = {}
        for row in sorted(table.rows, key=lambda row: float(row.settings[path])):
            if (measurement := row.measurements.get(name)) is not None:
                value = _value(table, row, measurement, x=float(row.settings[path]))
                found.setdefault(_series(row, others), []).append(value)
        panels[_axis(table, name)] = found
    log_x = places[0] > 0 and places[-1] >= _LOG_RATIO * places[0] and len(places) <= _MOST_PLACES
    return points(panels, x_label=path, log_x=log_x)


def _numeric_path(table: SweepTable) -> str:
    for path in table.paths:
        values = [row.settings[path] for row in table.rows]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if numbers and len(set(values)) > 1:
            return path
    return ""


def _series(row: Row, others: Sequence[str]) -> str:
    """Return the name of the series of a row: its other settings, by the last part of their names."""
    return ", ".join(f"{path.rpartition('.')[2]}={value_text(row.settings[path])}" for path in others)


def _axis(table: SweepTable, name: str) -> str:
    label = table.figures[name] or name
    return label if len(label) <= _LONGEST_LABEL else name


def _values(table: SweepTable, name: str) -> list[Value]:
    return [
        _value(table, row, row.measurements[name], label=letter_of(place))
        for place, row in enumerate(table.rows)
        if name in row.measurements
    ]


def _value(table: SweepTable, row: Row, measurement: Measurement, *, x: float = 0.0, label: str = "") -> Value:
    best = table.best is not None and row is table.rows[table.best]
    return Value(
        label=label,
        x=x,
        value=measurement.value,
        error=measurement.standard_error,
        marked=best and measurement.name == table.by,
    )
