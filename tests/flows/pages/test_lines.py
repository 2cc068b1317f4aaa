"""Lines are drawn where their numbers are: each on its own x axis, with its band, in its panel."""

from io import BytesIO
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from flows.pages import canvas
from flows.pages.lines import Line, line_panels


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that become pictures."""
    figures: list[matplotlib.figure.Figure] = []
    honest = canvas.saved

    def keep(figure: matplotlib.figure.Figure) -> bytes:
        figures.append(figure)
        return honest(figure)

    monkeypatch.setattr("flows.pages.lines.saved", keep)
    return figures


LINES = {
    "training": Line(x=[1, 2, 3, 4], y=[0.5, 0.4, 0.3, 0.2]),
    "held out": Line(x=[2, 4], y=[0.45, 0.4], band=[0.1, 0.05], marked=True),
}


def test_the_numbers(drawn: list[Any]) -> None:
    png = line_panels({"loss": LINES, "rate": {"rate": Line(x=[1, 4], y=[1e-4, 2e-4])}}, x_label="images seen")
    Image.open(BytesIO(png)).load()
    first, second = drawn[0].axes
    assert [line.get_xydata().tolist() for line in first.lines] == [
        [[1, 0.5], [2, 0.4], [3, 0.3], [4, 0.2]],
        [[2, 0.45], [4, 0.4]],
    ]
    (band,) = first.collections
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].min() == pytest.approx(0.35)
    assert vertices[:, 1].max() == pytest.approx(0.55)
    assert (first.get_ylabel(), second.get_ylabel(), second.get_xlabel()) == ("loss", "rate", "images seen")
    assert first.get_xlim() == second.get_xlim()


@pytest.mark.parametrize(
    ("y", "scale"), [([1.0, 2.0], "linear"), ([1.0, 9.0], "log"), ([0.0, 9.0], "linear"), ([-1.0, 9.0], "linear")]
)
def test_a_wide_range_above_0_is_logarithmic(drawn: list[Any], y: list[float], scale: str) -> None:
    line_panels({"loss": {"": Line(x=[1, 2], y=y)}}, x_label="x")
    assert drawn[0].axes[0].get_yscale() == scale


def test_one_value_is_a_dot(drawn: list[Any]) -> None:
    line_panels({"loss": {"": Line(x=[1], y=[2.0])}}, x_label="x")
    assert drawn[0].axes[0].lines[0].get_marker() == "o"
    assert np.isfinite(drawn[0].axes[0].get_ylim()).all()
