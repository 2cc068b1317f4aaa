"""The parts that the samplers share.

The network comes in as a callable `(x_t, t) -> output` that receives `schedule.timesteps[t]`, and the noise as a
function of the step, so that an analytic denoiser can stand in for the one and any source of randomness for the other.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ddpm_core.schedule import NoiseSchedule

Noise = Callable[[int], Float[Tensor, "b c h w"]]


def chain_length(schedule: NoiseSchedule, start: int | None) -> int:
    """The number of steps of a chain that starts at timestep `start`, T-1 unless given."""
    if start is None:
        return schedule.num_timesteps
    if not 0 <= start < schedule.num_timesteps:
        raise ValueError(f"start must lie in 0..{schedule.num_timesteps - 1}; got {start}")
    return start + 1
