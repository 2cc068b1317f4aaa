"""The section about training: figures, grids and warnings along it, read from the sealed points and the history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from flows.health import losses_of, warnings
from flows.pages.lines import Line, line_panels
from flows.pages.pictures import sample_grid
from flows.points import Point, best_point, read_points
from flows.stages.report.plots import Plot, csv_of
from infra.errors import IntegrityError
from infra.outputs.images import Images
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.tensors import decode_tensors
from infra.storage.store import Store

# The names of the plots along training, in the order of the page.
ALONG_PLOTS = ("held_out_loss", "bits_per_dim_estimate", "fd_pixels_along", "loss_by_quarter", "steps")
_SEEN = "images seen"
_BAND = 2  # standard errors on either side
_COLUMNS, _ROWS = 10, 6
_QUARTERS = ("smallest t", "second quarter", "third quarter", "largest t")


@dataclass(frozen=True, kw_only=True)
class Along:
    """The measurements along a training run.

    Attributes:
        points: The measured points, by images seen.
        grids: The images drawn from the same noise at some of them, uint8 [points, images, c, h, w].
        shown: The places of these points.
        warnings: What goes wrong, in words.
        best: The point with the lowest estimate of the bound; None if it is not known.
        damaged: The places of the points whose file is damaged or missing: without their grid, and without their part
            in the warnings, but with the figures that the manifest holds.
    """

    points: Sequence[Point]
    grids: Images | None
    shown: Sequence[int]
    warnings: Sequence[str]
    best: Point | None
    damaged: Sequence[int] = ()

    @property
    def remark(self) -> str:
        """A sentence about the damaged points; empty if all are whole."""
        if not self.damaged:
            return ""
        places = ", ".join(f"{place:,}" for place in self.damaged)
        return f"Without the images at {places} images seen, since their files are damaged or missing."


def read_along(store: Store, trained: Manifest) -> Along:
    """Read the points that a train manifest names, every byte verified; a damaged file costs its own images alone."""
    points = [point for point in read_points(trained.facts) if point.figures is not None]
    found = {point.images_seen: _tensors(store, trained, point) for point in points}
    tensors = {place: of_point for place, of_point in found.items() if of_point is not None}
    losses = {place: losses_of(of_point) for place, of_point in tensors.items()}
    places = list(tensors)
    count = min(len(places), _COLUMNS)
    shown = [places[round(k * (len(places) - 1) / max(count - 1, 1))] for k in range(count)]
    return Along(
        points=points,
        grids=np.stack([tensors[place]["grid"][:_ROWS].numpy() for place in shown]) if shown else None,
        shown=shown,
        warnings=warnings(trained.facts["history"], points, losses),
        best=best_point(points),
        damaged=sorted(found.keys() - tensors.keys()),
    )


def _tensors(store: Store, trained: Manifest, point: Point) -> Mapping[str, Tensor] | None:
    """Return the tensors of a measured point; None if their file is damaged or missing."""
    assert point.watch is not None, "a point with figures has their file"
    try:
        tensors, _ = decode_tensors(read_verified(store, trained.folder, point.watch), point.watch["file"])
    except IntegrityError:
        return None
    return tensors


def strip(along: Along) -> bytes | None:
    """Draw the grids along training: a row per image, a column per point; None if there are none."""
    if along.grids is None:
        return None
    return sample_grid(along.grids.swapaxes(0, 1).reshape(-1, *along.grids.shape[2:]), columns=len(along.shown))


def training_plots(history: Sequence[Mapping[str, Any]], along: Along, loss: str) -> list[Plot]:
    """Return the plots along training that there are numbers for.

    Args:
        history: The rows of the history.
        along: The points.
        loss: The name of the training loss in words.
    """
    found = [_losses(history, along, loss), _bound(along), _distance(along), _quarters(history, loss), _steps(history)]
    return [plot for plot in found if plot is not None]


def _losses(history: Sequence[Mapping[str, Any]], along: Along, loss: str) -> Plot | None:
    """Plot the held-out loss beside the training loss; if training minimises another loss, that one at the points."""
    trained = {row["images_seen"]: row["loss"] for row in history if row["loss"] is not None}
    held_out: dict[int, tuple[float, float]] = {}
    for point in along.points:
        figures = point.figures
        assert figures is not None, "it was measured"
        value, error = (
            (figures.loss, figures.loss_stderr)
            if figures.objective is None
            else (figures.objective, figures.objective_stderr)
        )
        if value is not None:
            held_out[point.images_seen] = (value, error or 0.0)
    if not held_out:
        return None
    name = "held-out images" if along.points[0].figures and along.points[0].figures.held_out else "fixed images"
    lines = {name: _line(held_out)}
    if trained:
        lines["training"] = Line(x=list(trained), y=list(trained.values()))
    rows = [(seen, trained.get(seen), *held_out.get(seen, (None, None))) for seen in sorted({*trained, *held_out})]
    return Plot(
        name="held_out_loss",
        about=f"loss of {name} beside the training loss",
        png=line_panels({loss: lines}, x_label=_SEEN),
        csv=csv_of((_SEEN, f"{loss}, training", f"{loss}, {name}", f"{loss}, {name} standard_error"), rows),
    )


def _bound(along: Along) -> Plot | None:
    values = {
        point.images_seen: (point.figures.bits_per_dim, point.figures.bits_per_dim_stderr or 0.0)
        for point in along.points
        if point.figures is not None and point.figures.bits_per_dim is not None
    }
    return _along(values, "bits_per_dim_estimate", "bits/dim, estimate", "the bound's estimate along training")


def _distance(along: Along) -> Plot | None:
    values = {
        point.images_seen: (point.figures.fd_pixels, point.figures.fd_pixels_stderr or 0.0)
        for point in along.points
        if point.figures is not None and point.figures.fd_pixels is not None
    }
    return _along(values, "fd_pixels_along", "fd_pixels", "the distance of pixels along training")


def _along(values: Mapping[int, tuple[float, float]], name: str, label: str, about: str) -> Plot | None:
    if not values:
        return None
    rows = [(seen, value, error) for seen, (value, error) in values.items()]
    return Plot(
        name=name,
        about=about,
        png=line_panels({label: {"": _line(values)}}, x_label=_SEEN),
        csv=csv_of((_SEEN, label, f"{label} standard_error"), rows),
    )


def _line(values: Mapping[int, tuple[float, float]]) -> Line:
    return Line(
        x=list(values),
        y=[value for value, _ in values.values()],
        band=[_BAND * error for _, error in values.values()],
        marked=True,
    )


def _quarters(history: Sequence[Mapping[str, Any]], loss: str) -> Plot | None:
    columns = {f"{loss}, {name}": _known(history, f"loss_quarter_{number}") for number, name in enumerate(_QUARTERS, 1)}
    return _history_plot("loss_by_quarter", "loss by quarter of t", {loss: columns})


def _steps(history: Sequence[Mapping[str, Any]]) -> Plot | None:
    names = {
        "gradient norm": "grad_norm",
        "learning rate": "learning_rate",
        "images/s": "images_per_second",
    }
    panels = {label: {label: _known(history, name)} for label, name in names.items()}
    return _history_plot("steps", "gradient norm, learning rate and speed", panels)


def _known(history: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    return {row["images_seen"]: row[name] for row in history if row.get(name) is not None}


def _history_plot(name: str, about: str, panels: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Plot | None:
    """Plot columns of the history; those without a number are left out."""
    kept = {label: {key: values for key, values in lines.items() if values} for label, lines in panels.items()}
    kept = {label: lines for label, lines in kept.items() if lines}
    if not kept:
        return None
    columns = {key: values for lines in kept.values() for key, values in lines.items()}
    seen = sorted({place for values in columns.values() for place in values})
    drawn = {
        label: {
            key.removeprefix(f"{label}, "): Line(x=list(values), y=list(values.values()))
            for key, values in lines.items()
        }
        for label, lines in kept.items()
    }
    rows = [(place, *(values.get(place) for values in columns.values())) for place in seen]
    return Plot(name=name, about=about, png=line_panels(drawn, x_label=_SEEN), csv=csv_of((_SEEN, *columns), rows))
