"""The probability-flow ODE."""

from jaxtyping import Float
from torch import Tensor

from ddpm_core.choices import Parameterisation
from ddpm_core.diffusion import timestep_batch
from ddpm_core.prediction import Model, convert
from ddpm_core.samplers.chain import OnStep
from ddpm_core.schedule import NoiseSchedule, at


def ode_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    parameterisation: Parameterisation = Parameterisation.EPS,
    on_step: OnStep | None = None,
) -> Float[Tensor, "b c h w"]:
    """Solve the probability-flow ODE by Heun's method: second order, 2T - 1 network calls, no clipping.

    With y = x / sqrt(alpha-bar) and sigma = sqrt((1 - alpha-bar) / alpha-bar) the flow is dy / dsigma = eps(x, t) (Song
    et al. 2021 "Score-based generative modeling", eq. (13); DDIM is Euler's method for it). Its nodes are the
    schedule's timesteps, then sigma = 0, which is reached by an Euler step.

    Args:
        model: The network.
        schedule: The nodes; respaced or not.
        x_T: Standard normal noise to start from.
        parameterisation: The quantity that the network predicts.
        on_step: Called with t and the predicted x_0 = y - sigma eps before each step.

    Raises:
        ValueError: If alpha-bar_T is 0, because sigma is infinite there.
    """
    if schedule.zero_terminal_snr:
        raise ValueError("the flow starts at infinite sigma if alpha-bar_T is 0; use ddim_sample")
    root = schedule.alphas_cumprod.sqrt()
    sigma = (1 / schedule.alphas_cumprod - 1).sqrt()

    def slope(y: Float[Tensor, "b c h w"], t: int) -> Float[Tensor, "b c h w"]:
        steps = timestep_batch(t, y)
        x_t = y * at(root, steps, like=y)
        prediction = model(x_t, schedule.timesteps[steps])
        return convert(schedule, x_t, steps, prediction, source=parameterisation, to=Parameterisation.EPS)

    y = x_T / at(root, timestep_batch(schedule.num_timesteps - 1, x_T), like=x_T)
    for t in reversed(range(schedule.num_timesteps)):
        eps = slope(y, t)
        at_zero = y - at(sigma, timestep_batch(t, y), like=y) * eps
        if on_step is not None:
            on_step(t, at_zero)
        if t == 0:
            return at_zero
        step = at(sigma, timestep_batch(t - 1, y), like=y) - at(sigma, timestep_batch(t, y), like=y)
        y = y + step * (eps + slope(y + step * eps, t - 1)) / 2
    raise AssertionError("a schedule has a timestep 0")
