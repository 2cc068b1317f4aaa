"""How the evaluation's units become figures and curves."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_core.likelihood.bound import BitsPerDim, rate_distortion
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from flows.stages.evaluate.units import Unit

Part = tuple[Unit, dict[str, Tensor]]
_TOTAL = "total_bpd_"


def summarise(parts: Sequence[Part], extractor: str, timesteps: int = 0) -> dict[str, float]:
    """Turn the units' results into figures; sums run in the order of the units, in float64.

    Args:
        parts: The units with their tensors.
        extractor: What made the features.
        timesteps: From how many of its timesteps the bound was estimated; 0 where all were summed.
    """
    distance = frechet_distance(_stats(parts, "samples"), _stats(parts, "reference"))
    metrics = {f"eval/{extractor}": distance}
    for name in _variances(parts):
        totals = _column(parts, f"{_TOTAL}{name}")
        metrics[f"eval/bits_per_dim_{name}"] = float(totals.mean())
        metrics[f"eval/bits_per_dim_{name}_stderr"] = float(totals.std() / len(totals) ** 0.5)
        metrics[f"eval/decoder_bpd_{name}"] = float(_column(parts, f"decoder_bpd_{name}").mean())
        metrics[f"eval/step_bpd_{name}"] = float(_column(parts, f"step_bpd_{name}").mean())
    metrics["eval/prior_bpd"] = float(_column(parts, "prior_bpd").mean())
    metrics["eval/bpd_timesteps"] = float(timesteps)
    if has_all_terms(parts):
        metrics["eval/eps_mse"] = float(_column(parts, "eps_mse").mean())
    metrics["eval/bpd_images"] = float(len(_column(parts, "prior_bpd")))
    metrics["eval/fd_samples"] = float(_stats(parts, "samples").count)
    return metrics


def has_all_terms(parts: Sequence[Part]) -> bool:
    """Whether the bound was summed over all timesteps, not estimated from some."""
    return any("eps_mse" in tensors for _, tensors in parts)


def summarise_curves(parts: Sequence[Part]) -> dict[str, Any]:
    """What the figures are sums of, by timestep t = 0..T-1; means over the held-out images.

    Returns:
        `rmse` of the predicted x_0 on the scale 0..255; by variance `step_bpd`, the term of each t, the decoder's at
        t = 0, and `rate`, the bits/dim sent once x_t is known (`ddpm_core.likelihood.bound.rate_distortion`).
    """
    by_variance, rmse = {}, torch.empty(0)
    for name in _variances(parts):
        bound = BitsPerDim(
            prior_bpd=_column(parts, "prior_bpd"),
            step_bpd=_column(parts, f"terms_bpd_{name}"),
            decoder_bpd=_column(parts, f"decoder_bpd_{name}"),
            total_bpd=_column(parts, f"{_TOTAL}{name}"),
            eps_mse=_column(parts, "eps_mse"),
            x_start_mse=_column(parts, "x_start_mse"),
        )
        rate, rmse = rate_distortion(bound)
        terms = torch.cat((bound.decoder_bpd[:, None], bound.step_bpd), dim=1).mean(0)
        by_variance[name] = {"step_bpd": terms.tolist(), "rate": rate.tolist()}
    return {"rmse": rmse.tolist(), "variances": by_variance}


def _variances(parts: Sequence[Part]) -> list[str]:
    bound = next(tensors for unit, tensors in parts if unit.kind == "bound")
    return sorted(name.removeprefix(_TOTAL) for name in bound if name.startswith(_TOTAL))


def _column(parts: Sequence[Part], name: str) -> Tensor:
    return torch.cat([tensors[name] for unit, tensors in parts if unit.kind == "bound"])


def _stats(parts: Sequence[Part], kind: str) -> FeatureStats:
    sums = [tensors for unit, tensors in parts if unit.kind == kind]
    total = FeatureStats.empty(len(sums[0]["total"]))
    for part in sums:
        total = total.merge(FeatureStats(count=int(part["count"]), total=part["total"], outer=part["outer"]))
    return total
