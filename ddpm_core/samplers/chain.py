"""The parts that the samplers share.

The network is a callable `(x_t, t) -> output` that receives `schedule.timesteps[t]`, and the noise is a function of the
step. So an analytic denoiser can replace the network, and any source of randomness can supply the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.prediction import Model
from ddpm_core.schedule import NoiseSchedule

# z for step t.
Noise = Callable[[int], Float[Tensor, "b c h w"]]
# Receives t and the predicted x_0, once per step, from T-1 down to 0.
OnStep = Callable[[int, Float[Tensor, "b c h w"]], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """Everything that the samplers of the table need besides x_T; a sampler ignores the settings that it does not use.

    Attributes:
        model: The network.
        schedule: The chain to run backwards, respaced or not.
        noise: Returns z for step t, a standard normal draw.
        parameterisation: The quantity that the network predicts.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].
        variance: The variance of ancestral steps.
        eta: The noise of DDIM, 0..1.
        on_step: Receives t and the predicted x_0 of each step.
    """

    model: Model
    schedule: NoiseSchedule
    noise: Noise
    parameterisation: Parameterisation = Parameterisation.EPS
    clip_x_start: bool = True
    variance: Variance = Variance.FIXED_LARGE
    eta: float = 0.0
    on_step: OnStep | None = None


def chain_length(schedule: NoiseSchedule, start: int | None) -> int:
    """The number of steps from timestep `start` down to 0; from T-1 if `start` is None.

    Raises:
        ValueError: If the start lies outside 0..T-1.
    """
    if start is None:
        return schedule.num_timesteps
    if not 0 <= start < schedule.num_timesteps:
        raise ValueError(f"start must lie in 0..{schedule.num_timesteps - 1}; got {start}")
    return start + 1
