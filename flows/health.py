"""Warnings in words of what goes wrong in training: pure functions of the history's rows and the points' figures.

Each warning is of the first place at which it holds, so that the run's log and the report say the same sentence.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flows.points import Point

Row = Mapping[str, Any]

_STARVED_SHARE = 0.2
_STARVED_ROWS = 3
# Rows before a comparison with the past makes sense: the loss falls steeply at first.
_PAST_ROWS = 5
# A loss or gradient norm this many times the median of the past is far above it.
_FAR = {"loss": ("loss", 3.0), "grad_norm": ("norm of the gradient", 20.0)}
_ERRORS = 2


def warnings(rows: Sequence[Row], points: Sequence[Point], losses: Mapping[int, Tensor]) -> list[str]:
    """Return a sentence or two per thing that goes wrong; none if all is well.

    Args:
        rows: The history, by images seen.
        points: The points, by images seen.
        losses: The held-out loss of each image at the measured points, [n] each, by the points' places.
    """
    found = [_skipped(rows), *(_rising(rows, name) for name in _FAR), _starved(rows), _overfitted(rows, points, losses)]
    return [warning for warning in found if warning]


def _skipped(rows: Sequence[Row]) -> str:
    # In float16 skipped steps find the scale, and say nothing while it is above 1; a skip has halved that of its row.
    row = next((row for row in rows if row.get("skipped_steps") and row.get("loss_scale", 0) < 1), None)
    if row is None:
        return ""
    return (
        f"Training may diverge: {_steps(row['skipped_steps'])} before {row['images_seen']:,} images "
        f"{'was' if row['skipped_steps'] == 1 else 'were'} skipped, since gradients were not finite. "
        "If this goes on, lower train.learning_rate."
    )


def _rising(rows: Sequence[Row], name: str) -> str:
    words, factor = _FAR[name]
    past: list[float] = []
    for row in rows:
        value = row.get(name)
        if value is None:
            continue
        usual = statistics.median(past[-4 * _PAST_ROWS :]) if len(past) >= _PAST_ROWS else 0.0
        if usual > 0 and value > factor * usual:
            return (
                f"Training may diverge: at {row['images_seen']:,} images the {words} is {value:.3g}, "
                f"{value / usual:.0f} times the median of the rows before. If it does not fall again, lower "
                "train.learning_rate."
            )
        past.append(value)
    return ""


def _starved(rows: Sequence[Row]) -> str:
    # The first row holds the start of the worker, when nothing is prefetched yet.
    for end in range(1 + _STARVED_ROWS, len(rows) + 1):
        shares = [row.get("data_share") for row in rows[end - _STARVED_ROWS : end]]
        known = [share for share in shares if share is not None]
        if len(known) == _STARVED_ROWS and min(known) > _STARVED_SHARE:
            return (
                f"Training is starved of data: before {rows[end - 1]['images_seen']:,} images it waited for data "
                f"{sum(known) / len(known):.0%} of the time. Faster storage, a larger train.shuffle_images or more "
                "workers would help."
            )
    return ""


def _overfitted(rows: Sequence[Row], points: Sequence[Point], losses: Mapping[int, Tensor]) -> str:
    """Compare each point with the one of the lowest held-out loss before it, image by image."""
    lowest: Point | None = None
    for point in points:
        of_images = losses.get(point.images_seen)
        if point.figures is None or not point.figures.held_out or of_images is None:
            continue
        if lowest is None or float(of_images.mean()) < float(losses[lowest.images_seen].mean()):
            lowest = point
        elif text := _rise(rows, lowest, point, losses):
            return text
    return ""


def _rise(rows: Sequence[Row], lowest: Point, point: Point, losses: Mapping[int, Tensor]) -> str:
    before, after = losses[lowest.images_seen], losses[point.images_seen]
    if len(before) != len(after) or len(after) < 2:
        return ""
    difference = after - before
    error = float(difference.std()) / len(difference) ** 0.5
    window = point.images_seen - lowest.images_seen
    trained = _trained(rows, lowest.images_seen, window), _trained(rows, point.images_seen, window)
    if trained[0] is None or trained[1] is None or trained[1] >= trained[0]:
        return ""
    if not float(difference.mean()) > _ERRORS * error:
        return ""
    return (
        f"The network overfits: from {lowest.images_seen:,} to {point.images_seen:,} images the held-out loss rose "
        f"from {float(before.mean()):.4f} to {float(after.mean()):.4f}, by {float(difference.mean()):.4f} ± "
        f"{error:.4f} over {len(after)} images, while the training loss fell from {trained[0]:.4f} to "
        f"{trained[1]:.4f}. The point at {lowest.images_seen:,} images may be the better network; more data or "
        "dropout would help."
    )


def _trained(rows: Sequence[Row], end: int, window: int) -> float | None:
    """Return the mean training loss of the rows in the window up to `end`."""
    found = [row["loss"] for row in rows if end - window < row["images_seen"] <= end and row["loss"] is not None]
    return statistics.fmean(found) if found else None


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def losses_of(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the held-out loss of each image, the mean over the timesteps, float64 [n], from a point's tensors."""
    return tensors["losses"].to(torch.float64).mean(1)
