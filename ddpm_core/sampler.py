"""Reverse chains: from x_T to images, one network call a step.

The network comes in as a callable `(x_t, t) -> pred_eps` and the noise as a function of the step, so that an analytic
denoiser can stand in for the one and any source of randomness for the other.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddpm_core.diffusion import ReverseStep, Variance, p_mean_variance
from ddpm_core.schedule import NoiseSchedule

EpsModel = Callable[[Float[Tensor, "b c h w"], Int64[Tensor, " b"]], Float[Tensor, "b c h w"]]
Noise = Callable[[int], Float[Tensor, "b c h w"]]


def ddpm_sample(
    model: EpsModel,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    noise: Noise,
    variance: Variance = Variance.FIXED_LARGE,
    clip_x_start: bool = True,
    on_step: Callable[[int, ReverseStep], None] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Ancestral sampling, Algorithm 2: x_{t-1} = mean + sqrt(variance) z for t = T-1..1, and the mean alone at t = 0.

    Args:
        model: eps_theta; it is told `schedule.timesteps[t]`.
        schedule: The chain to run backwards, respaced or not.
        x_T: Standard normal noise to start from.
        noise: z for step t, asked once for each t = T-1..1.
        variance: Which fixed variance.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].
        on_step: Called with t and the reverse step after each network call.

    Returns:
        x_0, unquantised; within [-1, 1] where `clip_x_start` is on.
    """
    x_t = x_T
    for t in reversed(range(schedule.num_timesteps)):
        steps = torch.full((len(x_t),), t, dtype=torch.int64, device=x_t.device)
        pred_eps = model(x_t, schedule.timesteps[steps])
        reverse = p_mean_variance(schedule, pred_eps, x_t, steps, variance=variance, clip_x_start=clip_x_start)
        if on_step is not None:
            on_step(t, reverse)
        x_t = reverse.mean if t == 0 else reverse.mean + reverse.variance.sqrt() * noise(t)
    return x_t
