"""The canvas of every plot: its size, its panels, the order of its colours, and the PNG that it makes.

Plots are drawn for a width of about 540 pixels on a page; their text can still be read at 360, the width of a phone.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

from flows.pages import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Values = TypeVar("_Values")
HEIGHT = 3.0  # inches, of a plot with one panel
PANEL, MARGIN = 1.8, 0.75  # inches: a panel among others, an axis with its label
TEXT = 10  # points
_TICKS = 6  # intervals of an x axis at most, so that numbers of images stay apart
_WIDTH, _DPI = 4.6, 170  # inches, and dots per inch


def coloured(series: Mapping[str, _Values]) -> Iterator[tuple[tuple[str, _Values], str]]:
    """Pair each series with a colour; if there are more series than colours, the colours repeat."""
    return zip(series.items(), itertools.cycle(palette.SERIES), strict=False)


def new_panels(heights: Sequence[float]) -> "tuple[Figure, list[Axes]]":
    """Return a figure and its panels of these heights in inches, one below the other."""
    # Not with this module: it takes half a second, and a plan or a sealed run draws nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(heights), squeeze=False, height_ratios=heights)
    panels: list[Axes] = list(rows[:, 0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=TEXT, which="both")
        axes.locator_params(axis="x", nbins=_TICKS)
        axes.xaxis.label.set_fontsize(TEXT)
        axes.yaxis.label.set_fontsize(TEXT)
    return figure, panels


def share_x(rows: "Sequence[Axes]", label: str) -> None:
    """Give panels one x axis, with numbers and the label below the last of them."""
    rows[-1].set_xlabel(label)
    for axes in rows[:-1]:
        axes.sharex(rows[-1])
        axes.tick_params(labelbottom=False)


def saved(figure: "Figure") -> bytes:
    """Return a figure as PNG bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
