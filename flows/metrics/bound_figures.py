"""From the bound's terms per image to figures and curves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion

_TOTAL = "total_bpd_"

# Per image, by name: float [n], or [n, T - 1] for the terms.
Columns = Mapping[str, Tensor]


def bound_metrics(columns: Columns, timesteps: int) -> dict[str, float]:
    """The means over the held-out images, in float64 as they come.

    Args:
        columns: The terms per image.
        timesteps: The bound was estimated from so many timesteps per image; 0 if all were summed.
    """
    metrics = {}
    for name in _variances(columns):
        totals = columns[f"{_TOTAL}{name}"]
        metrics[f"eval/bits_per_dim_{name}"] = float(totals.mean())
        metrics[f"eval/bits_per_dim_{name}_stderr"] = float(totals.std() / len(totals) ** 0.5)
        metrics[f"eval/decoder_bpd_{name}"] = float(columns[f"decoder_bpd_{name}"].mean())
        metrics[f"eval/step_bpd_{name}"] = float(columns[f"step_bpd_{name}"].mean())
    metrics["eval/prior_bpd"] = float(columns["prior_bpd"].mean())
    metrics["eval/bpd_timesteps"] = float(timesteps)
    if "eps_mse" in columns:
        metrics["eval/eps_mse"] = float(columns["eps_mse"].mean())
    metrics["eval/bpd_images"] = float(len(columns["prior_bpd"]))
    return metrics


def bound_curves(columns: Columns) -> dict[str, Any]:
    """The means of what the figures are sums of, by timestep t = 0..T-1.

    Returns:
        `rmse` of the predicted x_0 on the scale 0..255; by variance `step_bpd`, the term of each t, the decoder's at
        t = 0, and `rate`, the bits/dim sent once x_t is known (`ddpm_core.likelihood.bound.rate_distortion`).
    """
    by_variance, rmse = {}, torch.empty(0)
    for name in _variances(columns):
        bound = BitsPerDim(
            prior_bpd=columns["prior_bpd"],
            step_bpd=columns[f"terms_bpd_{name}"],
            decoder_bpd=columns[f"decoder_bpd_{name}"],
            total_bpd=columns[f"{_TOTAL}{name}"],
            eps_mse=columns["eps_mse"],
            x_start_mse=columns["x_start_mse"],
        )
        rate, rmse = rate_distortion(bound)
        terms = torch.cat((bound.decoder_bpd[:, None], bound.step_bpd), dim=1).mean(0)
        by_variance[name] = {"step_bpd": terms.tolist(), "rate": rate.tolist()}
    return {"rmse": rmse.tolist(), "variances": by_variance}


def _variances(columns: Columns) -> list[str]:
    return sorted(name.removeprefix(_TOTAL) for name in columns if name.startswith(_TOTAL))
