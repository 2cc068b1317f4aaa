"""Lines with an x axis of their own each, in panels below each other, as PNG bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flows.pages.canvas import HEIGHT, MARGIN, PANEL, TEXT, coloured, new_panels, saved, share_x

_LOG_RANGE = 3  # within a smaller range a logarithmic axis has long labels and shows nothing more


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line.

    Attributes:
        x: Its places.
        y: Its values.
        band: Half the width of the band around it at each place; empty for none.
        marked: Whether each value has a dot.
    """

    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[float] = ()
    marked: bool = False


def line_panels(panels: Mapping[str, Mapping[str, Line]], *, x_label: str, log_y: bool = True) -> bytes:
    """Draw panels over a common x axis; a panel with values of a wide range above 0 has a logarithmic y axis.

    Args:
        panels: The lines of each panel, by the label of its y axis and by name.
        x_label: The quantity and unit of the x axis.
        log_y: Whether y axes may be logarithmic.
    """
    height = HEIGHT - MARGIN / 2 if len(panels) == 1 else PANEL
    figure, rows = new_panels([height] * (len(panels) - 1) + [height + MARGIN / 2])
    for axes, (label, lines) in zip(rows, panels.items(), strict=True):
        for (name, line), colour in coloured(lines):
            marker = "o" if line.marked or len(line.x) == 1 else ""
            axes.plot(line.x, line.y, label=name, color=colour, linewidth=1.5, marker=marker, markersize=4)
            if line.band:
                y, band = np.asarray(line.y), np.asarray(line.band)
                axes.fill_between(line.x, y - band, y + band, color=colour, alpha=0.25, linewidth=0)
        values = [value for line in lines.values() for value in line.y]
        if log_y and min(values) > 0 and max(values) > _LOG_RANGE * min(values):
            axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        if len(lines) > 1:
            axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=TEXT)
    share_x(rows, x_label)
    return saved(figure)
