"""The numbers of a plot are those that were sealed, with their units."""

import csv
import json
from dataclasses import replace
from io import StringIO

import pytest

from flows.artifacts import CURVES
from flows.stages.report.outputs import Drawings, draw, read_outputs
from flows.stages.report.plots import csv_of, interval_plot, loss_plot, terms_plot
from infra.outputs.manifest import read_verified
from tests.conftest import TinyRun


@pytest.fixture
def drawings(tiny_run: TinyRun) -> Drawings:
    return draw(read_outputs(tiny_run.store, tiny_run.finished))


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(data.decode())))


def test_the_figures_with_their_errors(tiny_run: TinyRun, drawings: Drawings) -> None:
    header, *found = rows(drawings.plots["figures"].csv)
    assert header == ["figure", "value", "standard_error", "unit"]
    known = [one for one in tiny_run.figures.figures if one.headline and one.standard_error is not None]
    assert [row[0] for row in found] == [figure.name for figure in known]
    assert [(float(row[1]), float(row[2])) for row in found] == [(one.value, one.standard_error) for one in known]
    assert {row[3] for row in found if row[0].startswith("bits_per_dim")} == {"bits/dim"}


def test_figures_without_a_known_error_have_no_plot(tiny_run: TinyRun) -> None:
    bare = tuple(replace(figure, standard_error=None) for figure in tiny_run.figures.figures)
    assert interval_plot(replace(tiny_run.figures, figures=bare)) is None


def test_the_loss_is_the_history(tiny_run: TinyRun, drawings: Drawings) -> None:
    history = tiny_run.snapshot.manifest(tiny_run.store).facts["history"]
    header, *found = rows(drawings.plots["loss"].csv)
    assert header == ["images seen", "L_simple"]
    assert [(int(seen), float(loss)) for seen, loss in found] == [(row["images_seen"], row["loss"]) for row in history]
    assert loss_plot([{"images_seen": 64, "loss": None}], "L_simple") is None


def test_the_bound_by_timestep_is_the_sealed_curve(tiny_run: TinyRun, drawings: Drawings) -> None:
    manifest = tiny_run.figures.manifest(tiny_run.store)
    (unit,) = [unit for unit in manifest.units if unit["facts"].get("kind") == CURVES]
    curves = json.loads(read_verified(tiny_run.store, manifest.folder, unit))
    header, *found = rows(drawings.plots["bound_by_timestep"].csv)
    assert [float(row[0]) for row in found] == list(range(1, 21))
    for variance in ("fixed_large", "fixed_small"):
        words = variance.replace("_", " ")
        for column, key in (
            (f"{words} (bits/dim)", "step_bpd"),
            (f"{words} standard_error (bits/dim)", "step_bpd_stderr"),
        ):
            place = header.index(column)
            assert [float(row[place]) for row in found] == curves["variances"][variance][key]
    header, *found = rows(drawings.plots["rate_distortion"].csv)
    assert header[:3] == ["t", "rmse (0..255)", "rate fixed large (bits/dim)"]
    assert [float(row[1]) for row in found] == curves["rmse"]


def test_curves_sealed_before_they_had_errors_have_no_band() -> None:
    plot = terms_plot({"fixed large": {"step_bpd": [1.0, 0.5], "rate": [0.5, 0.1]}})
    assert rows(plot.csv)[0] == ["t", "fixed large (bits/dim)"]


def test_numbers_are_read_back_equal() -> None:
    values = [0.1 + 0.2, 1e-300, 1 / 3]
    data = csv_of(("a", "b,c", "d"), [values, [None, "x,y", 3]])
    assert data == csv_of(("a", "b,c", "d"), [list(values), [None, "x,y", 3]])
    header, first, second = rows(data)
    assert header == ["a", "b,c", "d"]
    assert [float(cell) for cell in first] == values
    assert second == ["", "x,y", "3"]
