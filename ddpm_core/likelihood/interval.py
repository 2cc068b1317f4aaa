"""The mean over held-out images with its standard errors: over images, and over the draws of noise alone."""

import math
from typing import NamedTuple

from jaxtyping import Float64
from torch import Tensor


class Interval(NamedTuple):
    """A mean and its standard errors, in the unit of the rows.

    Attributes:
        value: The mean over images and draws.
        standard_error: Over images drawn anew together with their noise: the error as an estimate of the mean over all
            images of the same kind. It contains the noise.
        noise_standard_error: Over noise drawn anew for these very images: the error as an estimate of their own mean.
            None for a single draw, which does not show it.
    """

    value: float
    standard_error: float
    noise_standard_error: float | None


def interval(rows: Float64[Tensor, "draws n"]) -> Interval:
    """Return the mean of independent images with its standard errors.

    The error over images is the standard deviation of the images' means over sqrt(n). The error over noise is
    sqrt(mean over images of the variance within an image / (draws n)).

    Args:
        rows: One value per draw of noise and image; draws and images independent.
    """
    draws, count = rows.shape
    error = float(rows.mean(0).std() / math.sqrt(count))
    noise = float((rows.var(0).mean() / (draws * count)).sqrt()) if draws > 1 else None
    return Interval(value=float(rows.mean()), standard_error=error, noise_standard_error=noise)
