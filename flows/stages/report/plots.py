"""The plots of a finished run, each as a picture and as the table of its numbers."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from flows.artifacts import Figure, Figures
from flows.pages.pictures import Value, curve, intervals, points, rate_distortion_curve
from flows.provenance import Provenance
from flows.stages.report.neighbours import RESPECTS, Neighbours, Point, Respect

_BITS = "bits/dim"
_BAND = 2  # standard errors on either side


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot.

    Attributes:
        name: Its name, that of its files.
        about: A description for people who do not see it.
        png: The picture.
        csv: The numbers: a header with units, then rows; numbers are written so that reading them gives equal ones.
    """

    name: str
    about: str
    png: bytes
    csv: bytes


def unit_of(figure: Figure) -> str:
    """Return the unit of a figure; an empty text if it has none."""
    return _BITS if "bpd" in figure.name or "bits_per_dim" in figure.name else ""


def interval_plot(figures: Figures) -> Plot | None:
    """Plot each headline figure with its standard error; None if no standard error is known.

    Figures in bits/dim share an axis; others have an axis each.
    """
    known = [figure for figure in figures.figures if figure.headline and figure.standard_error is not None]
    if not known:
        return None
    panels: dict[str, list[Value]] = {}
    for figure in known:
        value = Value(label=_short_label(figure), value=figure.value, error=figure.standard_error)
        panels.setdefault(unit_of(figure) or figure.label, []).append(value)
    rows = [(figure.name, figure.value, figure.standard_error, unit_of(figure)) for figure in known]
    return Plot(
        name="figures",
        about="figures with their standard errors",
        png=intervals(panels),
        csv=csv_of(("figure", "value", "standard_error", "unit"), rows),
    )


def _short_label(figure: Figure) -> str:
    """Return a figure's name in words without the unit, which its axis states."""
    return figure.label.removeprefix(f"{_BITS}, ") if unit_of(figure) else ""


def loss_plot(history: Sequence[Mapping[str, Any]], label: str) -> Plot | None:
    """Plot the training loss over the images seen; None if the history has no loss."""
    rows = [(row["images_seen"], row["loss"]) for row in history if row["loss"] is not None]
    if not rows:
        return None
    seen, losses = zip(*rows, strict=True)
    return Plot(
        name="loss",
        about="loss curve",
        # Within a small range a logarithmic axis has long labels and shows nothing more.
        png=curve(seen, {label: losses}, x_label="images seen", y_label=label, log_y=max(losses) > 3 * min(losses)),
        csv=csv_of(("images seen", label), rows),
    )


def terms_plot(by_variance: Mapping[str, Mapping[str, Any]]) -> Plot:
    """Plot the terms of the bound by timestep, with a band of two standard errors if these were sealed.

    Args:
        by_variance: As `flows.metrics.bound_curves.bound_curves` gives them, by variance in words.
    """
    lines = {name: of_name["step_bpd"] for name, of_name in by_variance.items()}
    errors = {name: of_name["step_bpd_stderr"] for name, of_name in by_variance.items() if "step_bpd_stderr" in of_name}
    bands = {name: [_BAND * error for error in of_name] for name, of_name in errors.items()}
    steps = range(1, len(next(iter(lines.values()))) + 1)
    columns = {f"{name} ({_BITS})": line for name, line in lines.items()}
    columns |= {f"{name} standard_error ({_BITS})": line for name, line in errors.items()}
    return Plot(
        name="bound_by_timestep",
        about="bits/dim by timestep",
        png=curve(steps, lines, x_label="t", y_label="bits/dim of the step", log_y=True, bands=bands),
        csv=csv_of(("t", *columns), zip(steps, *columns.values(), strict=True)),
    )


def rate_plot(by_variance: Mapping[str, Mapping[str, Any]], rmse: Sequence[float]) -> Plot:
    """Plot distortion over rate.

    Args:
        by_variance: The rates in bits/dim by timestep, by variance in words.
        rmse: The root mean squared error of the predicted image by timestep, on the scale 0..255.
    """
    rates = {name: of_name["rate"] for name, of_name in by_variance.items()}
    header = ("t", "rmse (0..255)", *(f"rate {name} ({_BITS})" for name in rates))
    return Plot(
        name="rate_distortion",
        about="rate and distortion",
        png=rate_distortion_curve({name: (rate, rmse) for name, rate in rates.items()}),
        csv=csv_of(header, zip(range(1, len(rmse) + 1), rmse, *rates.values(), strict=True)),
    )


def comparison_plots(neighbours: Neighbours, provenance: Mapping[str, Provenance]) -> list[Plot]:
    """Plot the headline figures along each respect in which at least two runs differ.

    Args:
        neighbours: The run and the others of its data.
        provenance: That of each figure by name; a figure without is taken to depend on everything.
    """
    plots = []
    for respect in RESPECTS:
        runs = neighbours.along(respect)
        common = set.intersection(*({figure.name for figure in run.figures.figures} for run in runs))
        figures = [
            figure
            for figure in neighbours.own.figures.figures
            if figure.headline
            and figure.name in common
            and (not respect.samples_only or _rests_on_samples(figure, provenance))
        ]
        if len(runs) > 1 and figures:
            plots.append(_comparison(respect, runs, figures, neighbours.own))
    return plots


def _rests_on_samples(figure: Figure, provenance: Mapping[str, Provenance]) -> bool:
    return figure.name not in provenance or bool(provenance[figure.name].samples)


def _comparison(respect: Respect, runs: Sequence[Point], figures: Sequence[Figure], own: Point) -> Plot:
    panels: dict[str, dict[str, list[Value]]] = {}
    found = [{figure.name: figure for figure in run.figures.figures} for run in runs]
    for figure in figures:
        values = [
            Value(
                x=respect.of(run),
                value=of_run[figure.name].value,
                error=of_run[figure.name].standard_error,
                marked=run is own,
            )
            for run, of_run in zip(runs, found, strict=True)
        ]
        panels.setdefault(unit_of(figure) or figure.label, {})[_short_label(figure) or figure.label] = values
    header = ["run", "this_run", respect.label]
    for figure in figures:
        unit = f" ({unit_of(figure)})" if unit_of(figure) else ""
        header += [f"{figure.name}{unit}", f"{figure.name} standard_error{unit}"]
    rows = []
    for run, of_run in zip(runs, found, strict=True):
        row: list[Any] = [run.name, int(run is own), respect.of(run)]
        for figure in figures:
            row += [of_run[figure.name].value, of_run[figure.name].standard_error]
        rows.append(row)
    return Plot(
        name=respect.name,
        about=f"figures against {respect.label}",
        png=points(panels, x_label=respect.label),
        csv=csv_of(header, rows),
    )


def csv_of(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a table as CSV; floats as Python writes them, a missing value as an empty cell."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
