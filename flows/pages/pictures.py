"""Pictures of images and curves, as PNG bytes."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from flows.pages import palette
from infra.outputs.images import Images

_Values = TypeVar("_Values")
_TILE = 64
_GAP = 4


def sample_grid(images: Images, columns: int = 0) -> bytes:
    """Lay out images [n, c, h, w] in rows of `columns`, or in a square if it is 0, enlarged by a whole factor."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    scale = max(1, _TILE // images.shape[-1])
    tiles = [_tile(image, scale) for image in images]
    side = tiles[0].shape[0] + _GAP
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * side + _GAP, columns * side + _GAP, 3), 255, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * side + _GAP, (number % columns) * side + _GAP
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    buffer = BytesIO()
    Image.fromarray(canvas).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _tile(image: Images, scale: int) -> NDArray[np.uint8]:
    pixels = np.repeat(image.transpose(1, 2, 0), 3 // image.shape[0], axis=2)
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def curve(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], *, x_label: str, y_label: str, log_y: bool = False
) -> bytes:
    """Draw lines over a common x axis."""
    return _plot({name: (x, y) for name, y in lines.items()}, x_label=x_label, y_label=y_label, log_y=log_y)


def rate_distortion_curve(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> bytes:
    """Draw distortion over rate, one line per (rate, rmse)."""
    return _plot(lines, x_label="rate (bits/dim)", y_label="RMSE of the predicted image", log_y=False)


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
    for number, ((split, of_split), colour) in enumerate(_coloured(counts)):
        axes.bar(np.arange(len(names)) + number * width, of_split, width, label=split, color=colour)
    axes.set_xticks(
        np.arange(len(names)) + width * (len(counts) - 1) / 2, names, rotation=45, ha="right", parse_math=False
    )
    return _png(figure, axes, legend=len(counts) > 1)


def _plot(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str, log_y: bool
) -> bytes:
    figure, axes = _axes(x_label, y_label)
    for (name, (x, y)), colour in _coloured(lines):
        axes.plot(x, y, label=name, color=colour, linewidth=1.5, marker="." if len(x) == 1 else "")
    if log_y:
        axes.set_yscale("log")
    return _png(figure, axes, legend=len(lines) > 1)


def _coloured(series: Mapping[str, _Values]) -> Iterator[tuple[tuple[str, _Values], str]]:
    """Pair each series with a colour; if there are more series than colours, the colours repeat."""
    return zip(series.items(), itertools.cycle(palette.SERIES), strict=False)


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure, axes: Axes, *, legend: bool) -> bytes:
    if legend:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
