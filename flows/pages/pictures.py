"""Pictures of images, curves and intervals, as PNG bytes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.pages import palette
from flows.pages.canvas import HEIGHT, MARGIN, PANEL, TEXT, coloured, new_panels, saved, share_x
from infra.outputs.images import Images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TILE = 64
_GAP = 4
_SQUARE = 8
_ROW = 0.3  # inches: a line of intervals
_DOT, _MARK = ("o", 5.0), ("D", 9.0)  # symbols and their sizes in points


@dataclass(frozen=True, kw_only=True)
class Value:
    """A value with its interval.

    Attributes:
        label: Its name on the plot; it may stay empty.
        x: Its place on the x axis, if the plot has one.
        value: The value.
        error: Half the length of its interval; None if it is not known.
        marked: Whether it stands out among the others.
    """

    label: str = ""
    x: float = 0.0
    value: float
    error: float | None = None
    marked: bool = False


def sample_grid(images: Images, columns: int = 0) -> bytes:
    """Lay out images [n, c, h, w] in rows of `columns`, or in a square if it is 0, enlarged by a whole factor."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    scale = max(1, _TILE // max(images.shape[-2:]))
    tiles = [_tile(image, scale) for image in images]
    height, width = (side + _GAP for side in tiles[0].shape[:2])
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * height + _GAP, columns * width + _GAP, 3), 255, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * height + _GAP, (number % columns) * width + _GAP
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    buffer = BytesIO()
    Image.fromarray(canvas).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _tile(image: Images, scale: int) -> NDArray[np.uint8]:
    pixels = image.transpose(1, 2, 0)
    if len(image) == 1:
        pixels = pixels.repeat(3, axis=2)
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    return _over_squares(pixels) if len(image) == 4 else pixels


def _over_squares(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite pixels [h, w, 4] over the light and grey squares by which image programs show transparency."""
    rows, columns = (np.arange(size) // _SQUARE for size in pixels.shape[:2])
    squares = np.where((rows[:, None] + columns) % 2, 204, 255)[..., None]
    opacity = pixels[..., 3:] / 255
    return np.rint(pixels[..., :3] * opacity + squares * (1 - opacity)).astype(np.uint8)


def curve(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    bands: Mapping[str, Sequence[float]] | None = None,
) -> bytes:
    """Draw lines over a common x axis.

    Args:
        x: Common to all lines.
        lines: The lines' values, by name.
        x_label: The quantity and unit of the x axis.
        y_label: The quantity and unit of the y axis.
        log_y: Whether the y axis is logarithmic.
        bands: Half the width of the band around a line, by the line's name.
    """
    figure, axes = _axes(x_label, y_label)
    for (name, y), colour in coloured(lines):
        _line(axes, name, x, y, colour)
        if bands and name in bands:
            low, high = (np.asarray(y) + sign * np.asarray(bands[name]) for sign in (-1, 1))
            # A logarithmic axis has no place for the part of a band at and below 0.
            low = np.where(low > 0, low, min(y)) if log_y else low
            axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
    if log_y:
        axes.set_yscale("log")
    return _png(figure, axes, legend=len(lines) > 1)


def rate_distortion_curve(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> bytes:
    """Draw distortion over rate, one line per (rate, rmse)."""
    figure, axes = _axes("rate (bits/dim)", "RMSE of the predicted image")
    for (name, (rate, rmse)), colour in coloured(lines):
        _line(axes, name, rate, rmse, colour)
    return _png(figure, axes, legend=len(lines) > 1)


def intervals(panels: Mapping[str, Sequence[Value]]) -> bytes:
    """Draw values as dots with their intervals as whiskers, one below the other; each panel has an axis of its own.

    Args:
        panels: The values of each panel, by the label of its axis.
    """
    heights = [MARGIN + _ROW * len(values) for values in panels.values()]
    figure, rows = new_panels(heights)
    for axes, (label, values) in zip(rows, panels.items(), strict=True):
        places = range(len(values), 0, -1)
        for place, value, colour in zip(places, values, itertools.cycle(palette.SERIES), strict=False):
            _dot(axes, value, value.value, place, colour, along_x=True)
        axes.set_yticks(list(places), [value.label for value in values], parse_math=False)
        axes.set_ylim(0.4, len(values) + 0.6)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.25)
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=5)
    return saved(figure)


def points(panels: Mapping[str, Mapping[str, Sequence[Value]]], *, x_label: str, log_x: bool = False) -> bytes:
    """Draw series of values over a common x axis, with their intervals as whiskers; a marked value is a large diamond.

    Args:
        panels: The series of each panel, by the label of its y axis and by name.
        x_label: The quantity and unit of the x axis.
        log_x: Whether the x axis is logarithmic; its numbers are then the places of the values.
    """
    figure, rows = new_panels([PANEL] * (len(panels) - 1) + [PANEL + MARGIN / 2])
    for axes, (label, series) in zip(rows, panels.items(), strict=True):
        for (name, values), colour in coloured(series):
            x, y = [value.x for value in values], [value.value for value in values]
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.5)
            for value in values:
                _dot(axes, value, value.x, value.value, colour, along_x=False)
            axes.plot([], [], _DOT[0], color=colour, markersize=_DOT[1], label=name)
        if log_x:
            axes.set_xscale("log")
            places = sorted({value.x for values in series.values() for value in values})
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.set_xticks([], minor=True)
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        if len(series) > 1:
            axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=TEXT)
    share_x(rows, x_label)
    return saved(figure)


def histogram(counts: Mapping[str, Sequence[int]]) -> bytes:
    """Draw the share of each channel's pixels that have each value 0..255, one outline per channel.

    Args:
        counts: The 256 counts of each channel, by its name: red, green and blue, or grey.
    """
    figure, axes = _axes("pixel value", "share of pixels")
    for name, of_channel in counts.items():
        total = max(sum(of_channel), 1)
        shares = [count / total for count in of_channel]
        axes.stairs(shares, np.arange(257) - 0.5, label=name, color=palette.CHANNELS[name])
    return _png(figure, axes, legend=len(counts) > 1)


def bars(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> bytes:
    """Draw one group of bars per name, with one bar per split."""
    figure, axes = _axes("", "images")
    width = 0.8 / len(counts)
    for number, ((split, of_split), colour) in enumerate(coloured(counts)):
        axes.bar(np.arange(len(names)) + number * width, of_split, width, label=split, color=colour)
    axes.set_xticks(
        np.arange(len(names)) + width * (len(counts) - 1) / 2, names, rotation=45, ha="right", parse_math=False
    )
    return _png(figure, axes, legend=len(counts) > 1)


def _dot(axes: "Axes", value: Value, x: float, y: float, colour: str, *, along_x: bool) -> None:
    """Draw a value as a dot, with its interval as a whisker along x or y."""
    error = None if value.error is None else [value.error]
    symbol, size = _MARK if value.marked else _DOT
    errors = (error, None) if along_x else (None, error)
    axes.errorbar(
        [x], [y], xerr=errors[0], yerr=errors[1], fmt=symbol, markersize=size, color=colour, elinewidth=1.5, capsize=4
    )


def _line(axes: "Axes", name: str, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    axes.plot(x, y, label=name, color=colour, linewidth=1.5, marker="." if len(x) == 1 else "")


def _axes(x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    figure, (axes,) = new_panels([HEIGHT])
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    return figure, axes


def _png(figure: "Figure", axes: "Axes", *, legend: bool) -> bytes:
    if legend:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=TEXT, borderaxespad=0)
    return saved(figure)
