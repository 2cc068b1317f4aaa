"""The bound from a few of its timesteps: single terms, and an unbiased estimate of their sum."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.diffusion import q_sample, timestep_batch
from ddpm_core.likelihood.bound import decoder_bits_per_dim, prior_bits_per_dim, step_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.prediction import Model
from ddpm_core.reverse import ReverseStep, p_mean_variances
from ddpm_core.schedule import NoiseSchedule


def step_terms(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    timesteps: Int64[Tensor, " n"],
    *,
    noise: Callable[[int], Float[Tensor, "b c h w"]],
    variance: Variance = Variance.FIXED_LARGE,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
) -> Float64[Tensor, "b n"]:
    """The terms of the bound at `timesteps`, in 1..T-1, in bits/dim; other arguments as in `bits_per_dim`."""
    clean, columns = x_start.double(), []
    for t in timesteps.tolist():
        steps = timestep_batch(t, x_start)
        x_t = q_sample(schedule, x_start, steps, noise(t))
        output, noisy = model(x_t, schedule.timesteps[steps]).double(), x_t.double()
        (reverse,) = p_mean_variances(schedule, output, noisy, steps, [variance], parameterisation, clip_x_start)
        columns.append(step_bits_per_dim(schedule, clean, noisy, steps, reverse))
    return torch.stack(columns, dim=1)


class BitsPerDimEstimate(NamedTuple):
    """The bound of each image with the sum over t >= 1 estimated, in bits/dim; see `estimate_bits_per_dim`."""

    prior_bpd: Float64[Tensor, " b"]
    steps_bpd: Float64[Tensor, " b"]
    decoder_bpd: Float64[Tensor, " b"]
    total_bpd: Float64[Tensor, " b"]


def estimate_bits_per_dim(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    noise: Callable[[int], Float[Tensor, "b c h w"]],
    uniforms: Float64[Tensor, "b n"],
    proposal: TimestepProposal,
    variances: Sequence[Variance],
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
) -> list[BitsPerDimEstimate]:
    """Estimate the bound without bias from n + 1 network calls instead of T; all variances share the calls.

    The n timesteps of an image are stratified: the proposal is cut into n equally likely parts, and the j-th timestep
    is drawn from the j-th part. Its term is weighted by 1 / (n p_t). L_T and L_0 are as in `bits_per_dim`.

    Args:
        model: The network.
        schedule: The chain.
        x_start: Images on the grid x/127.5 - 1, x in 0..255.
        noise: Returns the standard normal draw that makes x_t, for L_0 if k = 0 and for the k-th timestep if k = 1..n.
        uniforms: Uniform numbers in (0, 1), one per image and timestep.
        proposal: A distribution over t = 1..T-1, in this order. Fit it on other images, or the estimate is biased.
            Best: `of_second_moments` of their `step_bpd`. Nearly as good and much cheaper: `of_some_second_moments`
            of `step_terms`.
        variances: Variances of the reverse step, at least one; results come in this order.
        parameterisation: The quantity that the network predicts.
        clip_x_start: Clamp predicted x_0 to [-1, 1].

    Raises:
        ValueError: If the proposal does not cover exactly T - 1 timesteps.
    """
    if len(proposal.probabilities) != schedule.num_timesteps - 1:
        raise ValueError(
            f"the proposal must be over the {schedule.num_timesteps - 1} timesteps from 1; "
            f"got {len(proposal.probabilities)}"
        )
    count = uniforms.shape[1]

    def reverse_steps(t: Int64[Tensor, " b"], eps: Float[Tensor, "b c h w"]) -> tuple[list[ReverseStep], Tensor]:
        x_t = q_sample(schedule, x_start, t, eps)
        output, noisy = model(x_t, schedule.timesteps[t]).double(), x_t.double()
        return p_mean_variances(schedule, output, noisy, t, variances, parameterisation, clip_x_start), noisy

    clean = x_start.double()
    decoders = [decoder_bits_per_dim(clean, step) for step in reverse_steps(timestep_batch(0, x_start), noise(0))[0]]
    sums = [torch.zeros_like(decoder) for decoder in decoders]
    for k in range(count):
        drawn = proposal.draw((k + uniforms[:, k]) / count)
        reverses, noisy = reverse_steps(drawn + 1, noise(k + 1))
        weight = 1 / (count * proposal.probabilities[drawn])
        for number, reverse in enumerate(reverses):
            term = step_bits_per_dim(schedule, clean, noisy, drawn + 1, reverse)
            sums[number] = sums[number] + weight * term
    prior = prior_bits_per_dim(schedule, x_start)
    return [
        BitsPerDimEstimate(prior_bpd=prior, steps_bpd=steps, decoder_bpd=decoder, total_bpd=prior + steps + decoder)
        for steps, decoder in zip(sums, decoders, strict=True)
    ]
