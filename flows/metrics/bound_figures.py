"""From the bound's terms per image to figures and curves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion
from flows.artifacts import Figure

_TOTAL = "total_bpd_"
_BOUND = "bits_per_dim_"
_STDERR = "_stderr"
# Sealed among the metrics, although they are settings.
COUNTS = ("bpd_images", "bpd_timesteps")
_TERMS = {
    "prior_bpd": "the bound's term at the end of the chain",
    "step_bpd": "the bound's terms between its two ends, summed",
    "decoder_bpd": "the bound's term of the last step",
    "eps_mse": "mean squared error of the predicted noise, over all timesteps",
}

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


def bound_figures(metrics: Mapping[str, float], *, labelled: bool) -> list[Figure]:
    """Return the bounds by variance, with their standard errors, then their terms by name.

    Args:
        metrics: As `bound_metrics` gives them.
        labelled: Whether the network was conditioned on the images' labels.
    """
    values = {name.removeprefix("eval/"): value for name, value in metrics.items()}
    kind = "estimated upper bound" if values["bpd_timesteps"] else "upper bound"
    condition = " given their labels" if labelled else ""
    note = f"{kind} on -log p of {values['bpd_images']:,.0f} held-out images{condition}, 256 levels"
    bounds = sorted(name for name in values if name.startswith(_BOUND) and not name.endswith(_STDERR))
    figures = [
        Figure(
            name=name,
            value=values[name],
            standard_error=values[f"{name}{_STDERR}"],
            label=f"bits/dim, {name.removeprefix(_BOUND).replace('_', ' ')}",
            note=note,
            headline=True,
        )
        for name in bounds
    ]
    for name in sorted(values):
        term = next((term for term in _TERMS if name.startswith(term)), "")
        if term:
            variance = name.removeprefix(term).strip("_").replace("_", " ")
            figures.append(
                Figure(
                    name=name, value=values[name], label=name, note=", ".join(filter(None, (_TERMS[term], variance)))
                )
            )
    return figures


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
