"""The units of the bound: every term of a batch of held-out images."""

import torch
from torch import Tensor

from ddpm_core.likelihood.bound import bits_per_dim_by_variance
from ddpm_core.rng import Stream
from flows.metrics.likelihood_inputs import Inputs, finite, sums


@torch.inference_mode()
def bound_terms(inputs: Inputs, start: int, stop: int) -> dict[str, Tensor]:
    """The bound of held-out images start..stop-1 in bits/dim, all T terms, for every variance; T calls per image."""
    batch = inputs.batch("test", start, stop, Stream.NLL, inputs.settings.batch_size)
    results = bits_per_dim_by_variance(
        batch.model,
        inputs.snapshot.schedule,
        batch.x_start,
        noise=batch.noise,
        variances=inputs.variances,
        parameterisation=inputs.snapshot.parameterisation,
    )
    tensors = {name: getattr(results[0], name) for name in ("prior_bpd", "eps_mse", "x_start_mse")}
    for variance, result in zip(inputs.variances, results, strict=True):
        tensors[f"terms_bpd_{variance.value}"] = result.step_bpd
        tensors |= sums(variance.value, result.step_bpd.sum(1), result.decoder_bpd, result.total_bpd)
    return finite({name: tensor[: batch.count].cpu() for name, tensor in tensors.items()}, "test", start, stop)
