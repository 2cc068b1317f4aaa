"""The bound by timestep, from its terms per image."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion
from flows.metrics.likelihood_rows import TOTAL

# Per image, by name: float [n], or [n, T - 1] for the terms.
Columns = Mapping[str, Tensor]


def bound_curves(columns: Columns) -> dict[str, Any]:
    """The means of what the figures are sums of, by timestep t = 0..T-1.

    Returns:
        `rmse` of the predicted x_0 on the scale 0..255; by variance `step_bpd`, the term of each t, the decoder's at
        t = 0, `step_bpd_stderr`, their standard errors over the images, and `rate`, the bits/dim sent once x_t is known
        (`ddpm_core.likelihood.bound.rate_distortion`).
    """
    by_variance, rmse = {}, torch.empty(0)
    for name in _variances(columns):
        bound = BitsPerDim(
            prior_bpd=columns["prior_bpd"],
            step_bpd=columns[f"terms_bpd_{name}"],
            decoder_bpd=columns[f"decoder_bpd_{name}"],
            total_bpd=columns[f"{TOTAL}{name}"],
            eps_mse=columns["eps_mse"],
            x_start_mse=columns["x_start_mse"],
        )
        rate, rmse = rate_distortion(bound)
        terms = torch.cat((bound.decoder_bpd[:, None], bound.step_bpd), dim=1)
        by_variance[name] = {
            "step_bpd": terms.mean(0).tolist(),
            "step_bpd_stderr": (terms.std(0) / len(terms) ** 0.5).tolist(),
            "rate": rate.tolist(),
        }
    return {"rmse": rmse.tolist(), "variances": by_variance}


def _variances(columns: Columns) -> list[str]:
    return sorted(name.removeprefix(TOTAL) for name in columns if name.startswith(TOTAL))
