"""DDIM and its inversion."""

from collections import deque
from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from ddpm_core.choices import Parameterisation
from ddpm_core.diffusion import timestep_batch
from ddpm_core.prediction import Model, convert, predict_eps, predict_x_start
from ddpm_core.samplers.chain import Noise, OnStep, chain_length
from ddpm_core.schedule import NoiseSchedule, at


def ddim_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
    start: int | None = None,
    on_step: OnStep | None = None,
) -> Float[Tensor, "b c h w"]:
    """DDIM (Song et al. 2021, eq. (12)): x_{t-1} = sqrt(ab') x_0 + sqrt(1 - ab' - s^2) eps + s z.

    ab is alpha-bar_t, ab' is alpha-bar_{t-1}, s = eta sqrt((1 - ab') / (1 - ab)) sqrt(1 - ab / ab'): eta = 0 is
    deterministic, 1 is the ancestral chain with fixed small variance. If x_0 is clipped, eps is recomputed from it, so
    that x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps still holds.

    Args:
        model: The network.
        schedule: The chain, respaced or not.
        x_T: Standard normal noise to start from.
        eta: The share of noise, 0..1.
        noise: Returns z for step t; called once for each t = T-1..1, and needed, if eta is above 0.
        parameterisation: The quantity that the network predicts.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].
        start: The timestep of `x_T`, 0..T-1; None for T-1.
        on_step: Called with t and the predicted x_0 after each network call.

    Raises:
        ValueError: If eta lies outside 0..1, or is above 0 without noise.
    """
    steps = ddim_steps(
        model,
        schedule,
        x_T,
        eta=eta,
        noise=noise,
        parameterisation=parameterisation,
        clip_x_start=clip_x_start,
        start=start,
        on_step=on_step,
    )
    (x_start,) = deque(steps, maxlen=1)
    return x_start


def ddim_steps(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    parameterisation: Parameterisation = Parameterisation.EPS,
    clip_x_start: bool = True,
    start: int | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Float[Tensor, "b c h w"]]:
    """Yield x_{t-1} after each network call of `ddim_sample`, for callers that do other work between the calls.

    The last one is the image. Arguments and errors are those of `ddim_sample`.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in 0..1; got {eta}")
    if eta > 0 and noise is None:
        raise ValueError(f"eta {eta} adds noise: pass noise, or eta=0")
    cumprod, prev = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    sigma = eta * ((1 - prev) / (1 - cumprod) * (1 - cumprod / prev)).sqrt()
    x_t = x_T
    for t in reversed(range(chain_length(schedule, start))):
        steps = timestep_batch(t, x_t)
        prediction = model(x_t, schedule.timesteps[steps])
        x_start = predict_x_start(schedule, x_t, steps, prediction, parameterisation)
        if clip_x_start:
            x_start = x_start.clamp(-1, 1)
        if on_step is not None:
            on_step(t, x_start)
        eps = predict_eps(schedule, x_t, steps, x_start)
        x_t = (
            at(prev.sqrt(), steps, like=x_t) * x_start
            + at((1 - prev - sigma**2).clamp(min=0).sqrt(), steps, like=x_t) * eps
        )
        if t > 0 and noise is not None and eta > 0:
            x_t = x_t + at(sigma, steps, like=x_t) * noise(t)
        yield x_t


def ddim_invert(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    parameterisation: Parameterisation = Parameterisation.EPS,
) -> Float[Tensor, "b c h w"]:
    """Run deterministic DDIM forwards and return the x_T from which `ddim_sample` without clipping leads to `x_start`.

    Each step takes eps at the timestep that it moves to, because the network has no timestep for clean images. There
    and back, the error is O(1 / T), that of Euler's method on the probability flow.
    """
    cumprod, prev = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    x_t = x_start
    for t in range(schedule.num_timesteps):
        steps = timestep_batch(t, x_t)
        prediction = model(x_t, schedule.timesteps[steps])
        eps = convert(schedule, x_t, steps, prediction, source=parameterisation, to=Parameterisation.EPS)
        factor = (1 - cumprod).sqrt() - (cumprod / prev * (1 - prev)).sqrt()
        x_t = at((cumprod / prev).sqrt(), steps, like=x_t) * x_t + at(factor, steps, like=x_t) * eps
    return x_t
