"""Reverse chains: from x_T to images, one loop over the timesteps each.

The network comes in as a callable `(x_t, t) -> output`, told `schedule.timesteps[t]`, and the noise as a function of
the step, so that an analytic denoiser can stand in for the one and any source of randomness for the other.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ddpm_core.diffusion import (
    Model,
    Parameterisation,
    ReverseStep,
    Variance,
    convert,
    p_mean_variance,
    predict_eps,
    predict_x_start,
    q_sample,
    timestep_batch,
)
from ddpm_core.schedule import NoiseSchedule, at

EPS = Parameterisation.EPS

Noise = Callable[[int], Float[Tensor, "b c h w"]]


def ddpm_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    noise: Noise,
    variance: Variance = Variance.FIXED_LARGE,
    parameterisation: Parameterisation = EPS,
    clip_x_start: bool = True,
    start: int | None = None,
    on_step: Callable[[int, ReverseStep], None] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Ancestral sampling, Algorithm 2: x_{t-1} = mean + sqrt(variance) z for t = T-1..1, and the mean alone at t = 0.

    Args:
        model: The network.
        schedule: The chain to run backwards, respaced or not.
        x_T: Standard normal noise to start from.
        noise: z for step t, asked once for each t = T-1..1.
        variance: Which variance.
        parameterisation: What the network predicts.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].
        start: The timestep that `x_T` stands at, T-1 unless given; 0..T-1.
        on_step: Called with t and the reverse step after each network call.

    Returns:
        x_0, unquantised; within [-1, 1] where `clip_x_start` is on and x_{t-1} is not what is predicted.
    """
    x_t = x_T
    for t in reversed(range(_length(schedule, start))):
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
            on_step(t, reverse)
        x_t = reverse.mean if t == 0 else reverse.mean + reverse.variance.sqrt() * noise(t)
    return x_t


def ddim_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    parameterisation: Parameterisation = EPS,
    clip_x_start: bool = True,
    start: int | None = None,
    on_step: Callable[[int, Float[Tensor, "b c h w"]], None] | None = None,
) -> Float[Tensor, "b c h w"]:
    """DDIM (Song et al. 2021, eq. (12)): x_{t-1} = sqrt(ab') x_0 + sqrt(1 - ab' - s^2) eps + s z.

    ab is alpha-bar_t, ab' is alpha-bar_{t-1}, s = eta sqrt((1 - ab') / (1 - ab)) sqrt(1 - ab / ab'): eta = 0 is
    deterministic, 1 is the ancestral chain with fixed small variance. Where x_0 is clipped, eps is taken anew from it,
    so that both lie on one line through x_t.

    Args:
        model: The network.
        schedule: The chain, respaced or not.
        x_T: Standard normal noise to start from.
        eta: 0..1.
        noise: z for step t, asked once for each t = T-1..1; needed where eta is above 0.
        parameterisation: What the network predicts.
        clip_x_start: Clamp each predicted x_0 to [-1, 1].
        start: The timestep that `x_T` stands at, T-1 unless given; 0..T-1.
        on_step: Called with t and the predicted x_0 after each network call.

    Raises:
        ValueError: If eta lies outside 0..1, or is above 0 and no noise is given.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in 0..1; got {eta}")
    if eta > 0 and noise is None:
        raise ValueError(f"eta {eta} adds noise: give noise, or eta=0")
    cumprod, prev = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    sigma = eta * ((1 - prev) / (1 - cumprod) * (1 - cumprod / prev)).sqrt()
    x_t = x_T
    for t in reversed(range(_length(schedule, start))):
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
    return x_t


def ddim_invert(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    parameterisation: Parameterisation = EPS,
) -> Float[Tensor, "b c h w"]:
    """Run deterministic DDIM forwards: the x_T from which `ddim_sample` without clipping comes back to `x_start`.

    Each step takes eps at the timestep it goes to, where the network was trained; the way there and back differ by
    O(1 / T), as Euler's method on the probability flow does.
    """
    cumprod, prev = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    x_t = x_start
    for t in range(schedule.num_timesteps):
        steps = timestep_batch(t, x_t)
        prediction = model(x_t, schedule.timesteps[steps])
        eps = convert(schedule, x_t, steps, prediction, source=parameterisation, to=EPS)
        factor = (1 - cumprod).sqrt() - (cumprod / prev * (1 - prev)).sqrt()
        x_t = at((cumprod / prev).sqrt(), steps, like=x_t) * x_t + at(factor, steps, like=x_t) * eps
    return x_t


def ode_sample(
    model: Model,
    schedule: NoiseSchedule,
    x_T: Float[Tensor, "b c h w"],
    *,
    parameterisation: Parameterisation = EPS,
    on_step: Callable[[int, Float[Tensor, "b c h w"]], None] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Solve the probability-flow ODE by Heun's method: second order, 2T - 1 network calls, no clipping.

    With y = x / sqrt(alpha-bar) and sigma = sqrt((1 - alpha-bar) / alpha-bar) the flow is dy / dsigma = eps(x, t) (Song
    et al. 2021 "Score-based generative modeling", eq. (13); DDIM is Euler's method for it). Its nodes are the
    schedule's timesteps, then sigma = 0, which is reached by an Euler step.

    Args:
        model: The network.
        schedule: The nodes; respaced or not.
        x_T: Standard normal noise to start from.
        parameterisation: What the network predicts.
        on_step: Called with t and the predicted x_0 = y - sigma eps before each step.

    Raises:
        ValueError: Where alpha-bar_T is 0, since sigma is infinite there.
    """
    if schedule.zero_terminal_snr:
        raise ValueError("the flow starts at infinite sigma where alpha-bar_T is 0; use ddim_sample")
    root = schedule.alphas_cumprod.sqrt()
    sigma = (1 / schedule.alphas_cumprod - 1).sqrt()

    def slope(y: Float[Tensor, "b c h w"], t: int) -> Float[Tensor, "b c h w"]:
        steps = timestep_batch(t, y)
        x_t = y * at(root, steps, like=y)
        prediction = model(x_t, schedule.timesteps[steps])
        return convert(schedule, x_t, steps, prediction, source=parameterisation, to=EPS)

    y = x_T / at(root, timestep_batch(schedule.num_timesteps - 1, x_T), like=x_T)
    for t in reversed(range(schedule.num_timesteps)):
        here = slope(y, t)
        at_zero = y - at(sigma, timestep_batch(t, y), like=y) * here
        if on_step is not None:
            on_step(t, at_zero)
        if t == 0:
            return at_zero
        step = at(sigma, timestep_batch(t - 1, y), like=y) - at(sigma, timestep_batch(t, y), like=y)
        y = y + step * (here + slope(y + step * here, t - 1)) / 2
    raise AssertionError("a schedule has a timestep 0")


def interpolation_start(
    schedule: NoiseSchedule,
    first: Float[Tensor, "c h w"],
    second: Float[Tensor, "c h w"],
    t: int,
    noise: Float[Tensor, "c h w"],
    fractions: Float[Tensor, " n"],
) -> Float[Tensor, "n c h w"]:
    """Diffuse two images to t with one noise and mix them; a sampler with `start=t` decodes the mixtures.

    Ho et al. section 4.4.

    Args:
        schedule: The forward process.
        first: Clean image of fraction 0.
        second: Clean image of fraction 1.
        t: How far to diffuse, 0..T-1.
        noise: Standard normal noise, the same for both.
        fractions: Shares of the second image, one for each mixture.
    """
    pair = torch.stack((first, second))
    x_t = q_sample(schedule, pair, timestep_batch(t, pair), noise.expand_as(pair))
    share = fractions.to(x_t.dtype).reshape(-1, 1, 1, 1)
    return (1 - share) * x_t[0] + share * x_t[1]


def _length(schedule: NoiseSchedule, start: int | None) -> int:
    if start is None:
        return schedule.num_timesteps
    if not 0 <= start < schedule.num_timesteps:
        raise ValueError(f"start must lie in 0..{schedule.num_timesteps - 1}; got {start}")
    return start + 1
