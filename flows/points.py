"""The points of a training run: places along it with a snapshot of their own and, if watched, figures."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from infra.digests import Json
from infra.errors import InputError

# The fact of a train manifest that holds its points.
POINTS = "points"
BEST = "best"
_SEPARATOR = "@"


@dataclass(frozen=True, kw_only=True)
class PointFigures:
    """The figures of a point, measured on the same images and noise at every point of a run.

    Attributes:
        split: The images' split: `test` for held-out images, `train` if there are none.
        images: Their number.
        timesteps: Fixed timesteps of the loss, zero-based.
        losses: L_simple at each of them, the mean over the images; as are all losses.
        losses_stderr: Their standard errors over the images.
        loss: L_simple, the mean over images and timesteps; None if it is not finite.
        loss_stderr: Its standard error.
        bits_per_dim: The estimate of the bound.
        bits_per_dim_stderr: Its standard error over images, timesteps and noise.
        objective: The loss that training minimises, if that is another one.
        objective_stderr: Its standard error.
        samples: Images drawn for the distance; 0 if it was not measured here.
        fd_pixels: The Fréchet distance of their averaged pixels to those of training images.
        fd_pixels_stderr: Its standard error by the jackknife, if there are enough samples.
    """

    split: str
    images: int
    timesteps: Sequence[int] = ()
    losses: Sequence[float | None] = ()
    losses_stderr: Sequence[float | None] = ()
    loss: float | None = None
    loss_stderr: float | None = None
    bits_per_dim: float | None = None
    bits_per_dim_stderr: float | None = None
    objective: float | None = None
    objective_stderr: float | None = None
    samples: int = 0
    fd_pixels: float | None = None
    fd_pixels_stderr: float | None = None

    def as_json(self) -> Json:
        """Return the figures as JSON values; numbers that are not finite become None."""
        return {name: _finite(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Json) -> Self:
        """Return what `as_json` wrote."""
        return cls(**values)

    @property
    def held_out(self) -> bool:
        """True if the images were held out of training."""
        return self.split == "test"

    def curves(self) -> dict[str, float]:
        """Return the figures that make curves by images seen, by the names of their metrics."""
        loss = "held_out_loss" if self.held_out else "loss_of_fixed_images"
        named = {
            loss: self.loss,
            f"{loss}_stderr": self.loss_stderr,
            "bits_per_dim_estimate": self.bits_per_dim,
            "bits_per_dim_estimate_stderr": self.bits_per_dim_stderr,
            "fd_pixels": self.fd_pixels,
            "fd_pixels_stderr": self.fd_pixels_stderr,
        }
        return {name: value for name, value in named.items() if value is not None}

    def words(self) -> str:
        """Return the figures in words, such as "held-out loss 0.0871, bits/dim 4.81 ± 0.05 (estimate)"."""
        parts = []
        if self.loss is not None:
            parts.append(f"{'held-out loss' if self.held_out else 'loss on training images'} {self.loss:.4f}")
        if self.bits_per_dim is not None:
            error = "" if self.bits_per_dim_stderr is None else f" ± {self.bits_per_dim_stderr:.2f}"
            parts.append(f"bits/dim {self.bits_per_dim:.2f}{error} (estimate)")
        if self.fd_pixels is not None:
            parts.append(f"fd_pixels {self.fd_pixels:.4g} of {self.samples:,} samples")
        return ", ".join(parts) or "no finite figure"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of a training run, as its manifest records it.

    Attributes:
        images_seen: The point's place along training.
        file: The snapshot of the averaged weights there, below the output's folder.
        sha256: The digest of that file.
        bytes: Its size.
        figures: The figures measured there; None if it was not measured.
        watch: The record of the file with the grid and the figures of each image; None if it was not measured.
        time_ms: When it was measured, in milliseconds since 1970.
    """

    images_seen: int
    file: str
    sha256: str
    bytes: int
    figures: PointFigures | None = None
    watch: Json | None = field(default=None, repr=False)
    time_ms: int = 0

    def row(self) -> Json:
        """Return the figures as a row of the history; empty if the point was not measured."""
        if self.figures is None:
            return {}
        return {"images_seen": self.images_seen, "time_ms": self.time_ms, **self.figures.curves()}

    @property
    def record(self) -> Json:
        """The snapshot's file, size and digest."""
        return {"file": self.file, "sha256": self.sha256, "bytes": self.bytes}

    def as_json(self) -> Json:
        """Return the point as a manifest records it."""
        figures = self.figures.as_json() if self.figures else None
        watch = {"figures": figures, "watch": self.watch, "time_ms": self.time_ms} if figures else {}
        return {"images_seen": self.images_seen, **self.record, **watch}

    @classmethod
    def from_json(cls, values: Json) -> Self:
        """Return what `as_json` wrote."""
        figures = values.get("figures")
        return cls(**values | {"figures": PointFigures.from_json(figures) if figures else None})


def read_points(facts: Json) -> list[Point]:
    """Return the points that a train manifest's facts record, by images seen; none if it was sealed before there were.

    Args:
        facts: The manifest's facts.
    """
    return [Point.from_json(values) for values in facts.get(POINTS, ())]


def points_facts(points: Sequence[Point]) -> Json:
    """Return the facts of a train manifest about its points, and about the best of them if one is known."""
    best = best_point(points)
    about = {BEST: {"images_seen": best.images_seen, **best.record}} if best else {}
    return {POINTS: [point.as_json() for point in points], **about}


def best_point(points: Sequence[Point]) -> Point | None:
    """Return the point with the lowest estimate of the bound on held-out images; the earliest of equal ones.

    None if no point has such a figure.
    """
    known = [
        (point.figures.bits_per_dim, point.images_seen, point)
        for point in points
        if point.figures is not None and point.figures.held_out and point.figures.bits_per_dim is not None
    ]
    return min(known, key=lambda one: one[:2])[2] if known else None


def split_name(text: str) -> tuple[str, str]:
    """Split RUN@best or RUN@IMAGES into the run's name and the point; the point is empty if the text names none.

    Raises:
        InputError: If the part behind the last @ is neither `best` nor a number of images.
    """
    name, separator, point = text.rpartition(_SEPARATOR)
    if not separator:
        return text, ""
    digits = point.replace(",", "").replace("_", "")
    if point != BEST and not digits.isdecimal():
        raise InputError(
            f"names the point {point!r}, which is neither `best` nor a number of images",
            item=text,
            remedy=f"write {name or 'RUN'}@best or {name or 'RUN'}@IMAGES",
        )
    return name, point if point == BEST else digits


def find_point(points: Sequence[Point], point: str, run: str) -> Point:
    """Return the point of a run that `split_name` found.

    Args:
        points: The run's points.
        point: `best` or a number of images.
        run: The run's name, for the error.

    Raises:
        InputError: If the run has no such point; the line lists those that it has.
    """
    found = best_point(points) if point == BEST else _at(points, int(point))
    if found is not None:
        return found
    known = ", ".join(f"{one.images_seen:,}" for one in points)
    if point == BEST:
        cause = "has no best point: no point was measured on held-out images"
    else:
        cause = f"has no point at {int(point):,} images"
    remedy = f"choose one of {known}" if known else "train it with this version, which commits points"
    raise InputError(cause, item=run, remedy=remedy)


def _at(points: Sequence[Point], images_seen: int) -> Point | None:
    return next((point for point in points if point.images_seen == images_seen), None)


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON values
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
