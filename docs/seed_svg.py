"""Line plots and small images as SVG, for docs/seed_figures.py.

Coordinates are rounded to a tenth of a pixel, and the bytes depend on no plotting library's version, so that a test can
compare a figure with what is committed.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ddpm_core.images import to_uint8
from flows.pages import palette

BLUE, RED, GREEN, BLACK, GREY = palette.BLUE, palette.VERMILION, palette.GREEN, palette.INK, palette.SHADE


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, linear or logarithmic, and its labelled ticks."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value along the axis, 0 to 1; values outside are held at the ends."""
        ends = (self.low, self.high, min(max(value, self.low), self.high))
        low, high, here = (math.log(end) for end in ends) if self.log else ends
        return (here - low) / (high - low)


def numbered(label: str, *ticks: float, log: bool = False) -> Axis:
    """An axis from the first to the last of these ticks."""
    return Axis(label, ticks[0], ticks[-1], [(tick, f"{tick:g}") for tick in ticks], log)


def text(x: float, y: float, said: str, anchor: str = "middle", more: str = "") -> str:
    """Return words at a place, `_{...}` as subscript; `more` is further SVG attributes."""
    words, *lowered = re.split(r"_\{(.*?)\}", said)
    for low, after in zip(lowered[::2], lowered[1::2], strict=True):
        words += f'<tspan dy="4" font-size="10">{low}</tspan>' + (f'<tspan dy="-4">{after}</tspan>' if after else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


@dataclass
class Panel:
    """Axes whose top left corner is at (`left`, `top`), and the lines in them."""

    x: Axis
    y: Axis
    left: float = 70
    top: float = 36
    width: float = 540
    height: float = 270
    title: str = ""
    legend: tuple[float, float] | None = (0.6, 0.05)
    lines: list[str] = field(default_factory=list)
    names: list[tuple[str, str]] = field(default_factory=list)

    def points(self, x: Sequence[float], y: Sequence[float]) -> str:
        """Values as pixels."""
        places = (
            (self.left + self.width * self.x.share(a), self.top + self.height * (1 - self.y.share(b)))
            for a, b in zip(x, y, strict=True)
        )
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)

    def line(
        self, name: str, x: Sequence[float], y: Sequence[float], colour: str, dash: str = "none", width: float = 2
    ) -> None:
        """Draw a line and name it in the legend."""
        style = f'fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-dasharray="{dash}"'
        self.lines.append(f'<polyline {style} points="{self.points(x, y)}"/>')
        self.names.append((name, style))

    def area(self, name: str, x: Sequence[float], y: Sequence[float], colour: str) -> None:
        """Fill the area below a line."""
        base = [self.y.low]
        around = self.points([x[0], *x, x[-1]], base + list(y) + base)
        self.lines.append(f'<polygon fill="{colour}" points="{around}"/>')
        self.names.append((name, f'stroke="{colour}" stroke-width="10"'))

    def svg(self) -> list[str]:
        """The panel's elements."""
        right, bottom = self.left + self.width, self.top + self.height
        middle = self.left + self.width / 2
        parts = []
        for value, said in self.x.ticks:
            x = self.left + self.width * self.x.share(value)
            parts.append(f'<path class="grid" d="M{x:.1f} {self.top:.1f}V{bottom:.1f}"/>')
            parts.append(text(x, bottom + 18, said))
        for value, said in self.y.ticks:
            y = self.top + self.height * (1 - self.y.share(value))
            parts.append(f'<path class="grid" d="M{self.left:.1f} {y:.1f}H{right:.1f}"/>')
            parts.append(text(self.left - 6, y + 4, said, "end"))
        parts += self.lines
        parts.append(f'<path class="axis" d="M{self.left:.1f} {self.top:.1f}V{bottom:.1f}H{right:.1f}"/>')
        parts.append(text(middle, bottom + 38, self.x.label))
        x, y = self.left - 48, self.top + self.height / 2
        parts.append(text(x, y, self.y.label, more=f' transform="rotate(-90 {x:.1f} {y:.1f})"'))
        parts.append(text(middle, self.top - 12, self.title, more=' font-weight="bold"'))
        if self.legend:
            x, y = self.left + self.width * self.legend[0], self.top + self.height * self.legend[1] + 8
            for row, (name, style) in enumerate(self.names):
                parts.append(f'<path {style} d="M{x:.1f} {y + 20 * row:.1f}h26"/>')
                parts.append(text(x + 34, y + 20 * row + 4, name, "start"))
        return parts


def picture(width: int, height: int, parts: Sequence[str]) -> str:
    """A whole SVG on a white ground, so that it reads on dark pages too."""
    style = f"text{{font-family:sans-serif;font-size:13px;fill:{BLACK}}}"
    style += f".grid{{stroke:{palette.RULE}}}.axis{{stroke:{BLACK};fill:none}}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    ground = f'<rect width="{width}" height="{height}" fill="{palette.PAPER}"/>'
    return "\n".join((head, f"<style>{style}</style>", ground, *parts, "</svg>\n"))


def powers(label: str, low: int, high: int) -> Axis:
    """A logarithmic axis over powers of ten."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    ticks = [(10.0**power, "10" + str(power).translate(raised)) for power in range(low, high + 1)]
    return Axis(label, 10.0**low, 10.0**high, ticks, log=True)


def decimal(value: float) -> str:
    """Two significant digits, and all nines or zeros before them."""
    return f"{value:.2f}" if 0.001 < value < 0.999 else f"{value:.5f}".rstrip("0")


def tiles(image: Tensor, left: float, top: float, size: float) -> list[str]:
    """An image [h, w] on [-1, 1] in 16 greys, white where it is -1 as on paper; a stroke a pixel, joined by grey."""
    grey = 15 - to_uint8(image[None, None])[0, 0].long() // 16
    parts = [f'<g transform="translate({left:.1f} {top:.1f}) scale({size:g})">']
    for level in sorted(set(grey.flatten().tolist())):
        rows, columns = torch.where(grey == level)
        strokes = "".join(f"M{x} {y}.5h1" for y, x in zip(rows.tolist(), columns.tolist(), strict=True))
        parts.append(f'<path stroke="#{level:x}{level:x}{level:x}" d="{strokes}"/>')
    return [
        *parts,
        f'<rect width="{len(image)}" height="{len(image)}" fill="none" stroke="{GREY}" stroke-width=".1"/></g>',
    ]
