"""Mixtures of two images at a timestep, from which a sampler continues."""

import torch
from jaxtyping import Float
from torch import Tensor

from ddpm_core.diffusion import q_sample, timestep_batch
from ddpm_core.schedule import NoiseSchedule


def interpolation_start(
    schedule: NoiseSchedule,
    first: Float[Tensor, "c h w"],
    second: Float[Tensor, "c h w"],
    t: int,
    noise: Float[Tensor, "c h w"],
    fractions: Float[Tensor, " n"],
) -> Float[Tensor, "n c h w"]:
    """Diffuse two images to t with the same noise and mix them; a sampler with `start=t` decodes the mixtures.

    Ho et al. section 4.4.

    Args:
        schedule: The forward process.
        first: Clean image at fraction 0.
        second: Clean image at fraction 1.
        t: The timestep to diffuse to, 0..T-1.
        noise: Standard normal noise, the same for both.
        fractions: Shares of the second image, one per mixture.
    """
    pair = torch.stack((first, second))
    x_t = q_sample(schedule, pair, timestep_batch(t, pair), noise.expand_as(pair))
    share = fractions.to(x_t.dtype).reshape(-1, 1, 1, 1)
    return (1 - share) * x_t[0] + share * x_t[1]
