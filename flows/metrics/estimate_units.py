"""The units of the bound's estimate from a few timesteps, and the proposal that these are drawn from."""

import math

import torch
from torch import Tensor

from ddpm_core.likelihood.estimate import estimate_bits_per_dim, step_terms
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.rng import Stream, uniform
from flows.metrics.likelihood_inputs import Inputs, finite, sums

# Share of timesteps drawn uniformly, for terms larger on held-out images than where the proposal was fitted.
_UNIFORM_SHARE = 0.05
_PROPOSAL_TIMESTEPS = 64


def proposal_timesteps(num_timesteps: int) -> Tensor:
    """At most 64 of t = 1..T-1, both ends among them, denser where t is small and the terms are steep."""
    last = num_timesteps - 1
    steps = torch.logspace(0, math.log10(last), _PROPOSAL_TIMESTEPS, dtype=torch.float64).round().long()
    return steps.clamp(1, last).unique()


@torch.inference_mode()
def second_moments(inputs: Inputs, start: int, stop: int) -> dict[str, Tensor]:
    """The mean square of some terms t >= 1 over training images: where the estimate looks most often.

    At most 64 network calls per image.
    """
    batch = inputs.batch("train", start, stop, Stream.NLL_PROPOSAL, inputs.settings.batch_size)
    schedule = inputs.snapshot.schedule
    timesteps = proposal_timesteps(schedule.num_timesteps)
    terms = step_terms(
        batch.model,
        schedule,
        batch.x_start,
        timesteps,
        noise=batch.noise,
        variance=inputs.variances[-1],
        parameterisation=inputs.snapshot.parameterisation,
    )
    moments = (terms[: batch.count] ** 2).mean(0).cpu()
    return finite({"timesteps": timesteps, "second_moments": moments}, "train", start, stop)


@torch.inference_mode()
def estimated_terms(inputs: Inputs, fitted: dict[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    """The estimated bound of held-out images start..stop-1 in bits/dim, for every variance.

    One network call per image for L_0 and one per timesteps drawn.

    Args:
        inputs: Of the worker.
        fitted: The result of `second_moments`.
        start: Number of the first image.
        stop: Number after the last image.
    """
    settings, snapshot = inputs.settings, inputs.snapshot
    batch = inputs.batch("test", start, stop, Stream.NLL, settings.batch_size)
    # Fitted on the host and then moved, so that every device draws the same timesteps.
    proposal = TimestepProposal.of_some_second_moments(
        fitted["timesteps"] - 1,
        fitted["second_moments"],
        snapshot.schedule.num_timesteps - 1,
        uniform_share=_UNIFORM_SHARE,
    ).to(inputs.device)
    results = estimate_bits_per_dim(
        batch.model,
        snapshot.schedule,
        batch.x_start,
        noise=batch.noise,
        uniforms=uniform(settings.seed, Stream.NLL_T, batch.ids, (settings.timesteps,), step=settings.draw).double(),
        proposal=proposal,
        variances=inputs.variances,
        parameterisation=snapshot.parameterisation,
    )
    tensors = {"prior_bpd": results[0].prior_bpd}
    for variance, result in zip(inputs.variances, results, strict=True):
        tensors |= sums(f"estimate_{variance.value}", result.steps_bpd, result.decoder_bpd, result.total_bpd)
    return finite({name: tensor[: batch.count].cpu() for name, tensor in tensors.items()}, "test", start, stop)
