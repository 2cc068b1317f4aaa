"""The bound by timestep, from its terms per image."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion
from flows.metrics.likelihood_rows import TOTAL

# Per image, by name: float64 [n], or [n, T] or [n, T - 1] for what has a value at each timestep.
Columns = Mapping[str, Tensor]
# Reads the units of a bound anew, one after the other in their order.
Units = Callable[[], Iterable[Columns]]

# Numbers that are held at once, 256 MiB: for more images, fewer timesteps at a time.
_HELD = 1 << 25
# Timesteps are cut at multiples of this, and no part is narrower, since a mean's last bits depend on its column's place
# among those of one vector instruction. So the cut changes no bit.
_ALIGNED = 64


class _Means(NamedTuple):
    """Means over images and their standard errors, float64 [T] or [T - 1]."""

    means: Tensor
    errors: Tensor


def bound_curves(units: Units, images: int) -> dict[str, Any]:
    """The means of what the figures are sums of, by timestep t = 0..T-1.

    Memory does not grow with the number of images times that of timesteps; the units are read several times instead.

    Args:
        units: The terms of all images.
        images: Their number.

    Returns:
        `rmse` of the predicted x_0 on the scale 0..255; by variance `step_bpd`, the term of each t, the decoder's at
        t = 0, `step_bpd_stderr`, their standard errors over the images, and `rate`, the bits/dim sent once x_t is known
        (`ddpm_core.likelihood.bound.rate_distortion`).
    """
    by_variance, rmse = {}, torch.empty(0)
    prior = torch.cat([unit["prior_bpd"] for unit in units()]).mean()[None]
    x_start_mse = _over_images(units, images, ["x_start_mse"]).means[None]
    for name in _variances(next(iter(units()))):
        decoder, steps = f"decoder_bpd_{name}", f"terms_bpd_{name}"
        mean = BitsPerDim(
            prior_bpd=prior,
            step_bpd=_over_images(units, images, [steps]).means[None],
            decoder_bpd=prior.new_zeros(1),
            total_bpd=prior.new_zeros(1),
            eps_mse=torch.zeros_like(x_start_mse),
            x_start_mse=x_start_mse,
        )
        rate, rmse = rate_distortion(mean)
        terms = _over_images(units, images, [decoder, steps])
        by_variance[name] = {
            "step_bpd": terms.means.tolist(),
            "step_bpd_stderr": terms.errors.tolist(),
            "rate": rate.tolist(),
        }
    return {"rmse": rmse.tolist(), "variances": by_variance}


def _over_images(units: Units, images: int, names: list[str]) -> _Means:
    """Return mean and standard error over all images of each column of these tensors side by side."""
    width = _side_by_side(next(iter(units())), names).shape[1]
    step = max(_HELD // images // _ALIGNED * _ALIGNED, _ALIGNED)
    means, errors = [], []
    starts = [0, *range(step, width - _ALIGNED + 1, step)]
    for first, end in zip(starts, [*starts[1:], width], strict=True):
        block, row = torch.empty(images, end - first, dtype=torch.float64), 0
        for unit in units():
            part = _side_by_side(unit, names)
            block[row : row + len(part)] = part[:, first:end]
            row += len(part)
        means.append(block.mean(0))
        errors.append(block.std(0) / images**0.5)
    return _Means(torch.cat(means), torch.cat(errors))


def _side_by_side(unit: Columns, names: list[str]) -> Tensor:
    return torch.cat([unit[name].reshape(len(unit[name]), -1) for name in names], dim=1)


def _variances(unit: Columns) -> list[str]:
    return sorted(name.removeprefix(TOTAL) for name in unit if name.startswith(TOTAL))
