"""The plot and the rows of the likelihoods by EMA length."""

from collections.abc import Mapping
from typing import Any

from flows.artifacts import number_text
from flows.pages.pictures import Value, points
from flows.stages.report.plots import Plot, csv_of

_WHISKER = 2  # standard errors on either side
_OWN = "own average"


def lengths_plot(table: Mapping[str, Any]) -> Plot:
    """Plot the difference to the run's own average over the EMA length, with the run's own average as a diamond at 0.

    Args:
        table: As `flows.metrics.ema_lengths` seals it.
    """
    own, lengths = table["own"], table["lengths"]
    series = {
        variance.replace("_", " "): [
            Value(
                x=row["sigma_rel"],
                value=row["variances"][variance]["difference"],
                error=_WHISKER * row["variances"][variance]["difference_standard_error"],
            )
            for row in lengths
        ]
        for variance in own["variances"]
    }
    series[_OWN] = [Value(x=own["sigma_rel"], value=0.0, marked=True)]
    header = ["sigma_rel", "own", "relative_error_of_profile"]
    columns = ("value", "standard_error", "difference", "difference_standard_error")
    header += [f"{variance} {column} (bits/dim)" for variance in own["variances"] for column in columns]
    rows = [
        [row["sigma_rel"], 0, row["relative_error"]]
        + [row["variances"][variance][column] for variance in own["variances"] for column in columns]
        for row in lengths
    ]
    of_own = [
        cell for found in own["variances"].values() for cell in (found["value"], found["standard_error"], 0.0, 0.0)
    ]
    return Plot(
        name="ema_lengths",
        about="bits/dim by EMA length",
        png=points({"difference (bits/dim)": series}, x_label="EMA length (share of training)"),
        csv=csv_of(header, sorted([*rows, [own["sigma_rel"], 1, 0.0, *of_own]])),
    )


def length_rows(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows of the page's table: length, variance, bits/dim, difference and the profile's error as text."""
    own = table["own"]
    rows = [
        {
            "length": f"{own['sigma_rel']:.3g} ({_OWN})",
            "variance": variance.replace("_", " "),
            "value": _text(found["value"], found["standard_error"]),
            "difference": "",
            "error": "",
        }
        for variance, found in own["variances"].items()
    ]
    return rows + [
        {
            "length": f"{row['sigma_rel']:g}",
            "variance": variance.replace("_", " "),
            "value": _text(found["value"], found["standard_error"]),
            "difference": _text(found["difference"], found["difference_standard_error"]),
            "error": f"{row['relative_error']:.2%}",
        }
        for row in table["lengths"]
        for variance, found in row["variances"].items()
    ]


def _text(value: float, error: float) -> str:
    return f"{number_text(value, error)} ± {number_text(error, error)}"
