"""Ancestral sampling: the reverse process itself, step by step."""

from jaxtyping import Float
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.diffusion import timestep_batch
from ddpm_core.prediction import Model
from ddpm_core.reverse import p_mean_variance
from ddpm_core.samplers.chain import Noise, OnStep, chain_length
from ddpm_core.schedule import NoiseSchedule


def ddpm_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    noise: Noise,
    variance: Variance = Variance.FIXED_LARGE,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
    start: int | None = None,
    on_step: OnStep | None = None,
) -> Float[Tensor, "b c h w"]:
    """Ancestral sampling, Algorithm 2: x_{t-1} = mean + sqrt(variance) z for t = T-1..1, and the mean alone at t = 0.

    Args:
        model: The network.
        schedule: The chain to run backwards, respaced or not.
        x_T: Standard normal noise to start from.
        noise: Returns z for step t; called once for each t = T-1..1.
        variance: The variance of the steps.
        parameterisation: The quantity that the network predicts.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].
        start: The timestep of `x_T`, 0..T-1; None for T-1.
        on_step: Called with t and the predicted x_0 after each network call.

    Returns:
        x_0, unquantised; within [-1, 1] if `clip_x_start` is on, unless the network predicts x_{t-1}.
    """
    x_t = x_T
    for t in reversed(range(chain_length(schedule, start))):
        steps = timestep_batch(t, x_t)
        reverse = p_mean_variance(
            schedule,
            model(x_t, schedule.timesteps[steps]),
            x_t,
            steps,
            variance=variance,
            parameterisation=parameterisation,
            clip_x_start=clip_x_start,
        )
        if on_step is not None:
            on_step(t, reverse.pred_x_start)
        x_t = reverse.mean if t == 0 else reverse.mean + reverse.variance.sqrt() * noise(t)
    return x_t
