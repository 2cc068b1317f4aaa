"""Checks of the reverse chains on pixels from N(0.1, 0.25), for which the best denoiser makes each chain linear.

The samples are therefore Gaussian, and a recursion over two numbers gives their exact mean and variance. Around the
means of q(x_t) and q(x_{t-1}) a step is x -> factor x + sqrt(added) z. The sampler's own mean and variance are measured
without sampling error: zero noise gives the mean, and setting one draw at a time to 1 changes the result by amounts
whose squares add up to the variance.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ddpm_core.choices import Variance
from ddpm_core.denoisers import gaussian_denoiser, point_mass_denoiser
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.samplers.langevin import langevin_sample
from ddpm_core.samplers.ode import ode_sample
from ddpm_core.schedule import NoiseSchedule, linear_schedule, respace
from ddpm_core.selftest.check import Check, largest

_MEAN, _VARIANCE = 0.1, 0.25
_SHORT = 50
_LANGEVIN_STEPS, _STEP_SIZE = 2, 0.1
# After 1000 steps of the linear schedule.
_KNOWN_MEAN, _KNOWN_LARGE, _KNOWN_SMALL = 0.099998991, 0.250752075, 0.246125211
_TOLERANCE = 1e-9
_STANDARD_ERRORS = 5

_Noise = Callable[[int], Float[Tensor, "b c h w"]]
# A step's factor, its added variance, and sqrt(alpha-bar) of the level before and after it.
_Step = tuple[float, float, float, float]


def check_ancestral(device: torch.device) -> list[Check]:
    """Check ancestral sampling with both fixed variances: the moments after 1000 steps are known to nine digits."""
    linear = linear_schedule().to(device)
    rows = []
    for variance, spread in ((Variance.FIXED_SMALL, _KNOWN_SMALL), (Variance.FIXED_LARGE, _KNOWN_LARGE)):
        moments = _moments(partial(_ddpm, linear, linear, variance), linear)
        rows += _compare("ancestral", f"{variance.value}, 1000 steps", moments, (_KNOWN_MEAN, spread))
    return rows


def check_respaced(device: torch.device) -> list[Check]:
    """Check ancestral sampling respaced to 50 steps: exact moments, moments of drawn samples, and a single point.

    The samples are drawn by Philox in float32. With n = 16,384 pixels their moments may be 5 standard errors off:
    sqrt(v / n) for the mean and v sqrt(2 / n) for the variance v. A single point must be reached exactly.
    """
    name = "ancestral"
    linear = linear_schedule().to(device)
    short = respace(linear, _SHORT)
    rows = []
    for variance in (Variance.FIXED_SMALL, Variance.FIXED_LARGE):
        truth = _after(_ancestral(_cumprods(_SHORT), large=variance is Variance.FIXED_LARGE))
        moments = _moments(partial(_ddpm, linear, short, variance), short)
        rows += _compare(name, f"{variance.value}, 50 steps", moments, truth)
    index = torch.arange(256, device=device)

    def draw(t: int) -> Float[Tensor, "b c h w"]:
        return normal(0, Stream.Z_T if t < _SHORT else Stream.X_T, index, (1, 8, 8), t)

    mean, spread = truth
    drawn = _ddpm(linear, short, Variance.FIXED_LARGE, draw(_SHORT), draw).double()
    error = _STANDARD_ERRORS * math.sqrt(spread / drawn.numel())
    goal = torch.linspace(-1, 1, 64, device=device).reshape(1, 1, 8, 8)
    reached = ddpm_sample(point_mass_denoiser(linear.alphas_cumprod, goal), short, draw(_SHORT), noise=draw) - goal
    return [
        *rows,
        Check(name, "drawn in float32, 50 steps: mean", float(drawn.mean()), mean, error),
        Check(name, "drawn in float32, 50 steps: variance", float(drawn.var()), spread, error * math.sqrt(2 * spread)),
        Check(name, "one point, 50 steps in float32: largest error", largest(reached), 0.0, 2e-6),
    ]


def _ddpm(
    whole: NoiseSchedule, schedule: NoiseSchedule, variance: Variance, x_T: Float[Tensor, "b c h w"], noise: _Noise
) -> Float[Tensor, "b c h w"]:
    """Ancestral sampling by the best denoiser, which receives the timesteps of the `whole` chain."""
    model = gaussian_denoiser(whole.alphas_cumprod, _MEAN, _VARIANCE)
    return ddpm_sample(model, schedule, x_T, noise=noise, variance=variance, clip_x_start=False)


def check_ddim(device: torch.device) -> list[Check]:
    """Check DDIM over 50 steps with eta = 0, and with eta = 1, the ancestral chain with fixed small variance."""
    linear = linear_schedule().to(device)
    short = respace(linear, _SHORT)
    model = gaussian_denoiser(linear.alphas_cumprod, _MEAN, _VARIANCE)
    rows = []
    for eta, truth in ((0.0, _ddim(_cumprods(_SHORT))), (1.0, _ancestral(_cumprods(_SHORT), large=False))):

        def run(x_T: Float[Tensor, "b 1 1 1"], noise: _Noise, eta: float = eta) -> Float[Tensor, "b 1 1 1"]:
            return ddim_sample(model, short, x_T, eta=eta, noise=noise, clip_x_start=False)

        rows += _compare("ddim", f"eta {eta:g}, 50 steps", _moments(run, short), _after(truth))
    return rows


def check_ode(device: torch.device) -> list[Check]:
    """Check Heun's method for the probability flow over 50 nodes."""
    linear = linear_schedule().to(device)
    short = respace(linear, _SHORT)
    model = gaussian_denoiser(linear.alphas_cumprod, _MEAN, _VARIANCE)
    moments = _moments(lambda x_T, _: ode_sample(model, short, x_T), short)
    return _compare("ode", "Heun, 50 steps", moments, _after(_heun(_cumprods(_SHORT))))


def check_langevin(device: torch.device) -> list[Check]:
    """Check predictor-corrector sampling and annealed Langevin dynamics, 50 levels, two steps of 0.1 per level."""
    linear = linear_schedule().to(device)
    short = respace(linear, _SHORT)
    sample = partial(
        langevin_sample,
        gaussian_denoiser(linear.alphas_cumprod, _MEAN, _VARIANCE),
        short,
        steps_per_level=_LANGEVIN_STEPS,
        step_size=_STEP_SIZE,
    )
    draws_per_step = _LANGEVIN_STEPS + 1
    rows = []
    for predictor, what in ((True, "predictor-corrector"), (False, "annealed Langevin dynamics")):

        def run(x_T: Float[Tensor, "b 1 1 1"], noise: _Noise, by: bool = predictor) -> Float[Tensor, "b 1 1 1"]:
            return sample(x_T, noise=lambda t, k: noise(draws_per_step * t + k), predictor=by)

        truth = _after(_langevin(_cumprods(_SHORT), predictor=predictor))
        rows += _compare("langevin", what, _moments(run, short, draws_per_step), truth)
    return rows


def _compare(name: str, what: str, moments: tuple[float, float], truth: tuple[float, float]) -> list[Check]:
    return [
        Check(name, f"{what}: {moment}", got, expected, _TOLERANCE)
        for moment, got, expected in zip(("mean", "variance"), moments, truth, strict=True)
    ]


def _moments(
    sample: Callable[[Float[Tensor, "b c h w"], _Noise], Float[Tensor, "b c h w"]],
    schedule: NoiseSchedule,
    draws_per_step: int = 1,
) -> tuple[float, float]:
    """Mean and variance of the samples that a linear sampler draws from standard normal x_T and noise."""
    count = 2 + schedule.num_timesteps * draws_per_step

    def unit(number: int) -> Float64[Tensor, "b 1 1 1"]:
        one = torch.zeros(count, 1, 1, 1, dtype=torch.float64, device=schedule.betas.device)
        one[number] = 1
        return one

    out = sample(unit(1), lambda number: unit(2 + number)).flatten()
    return float(out[0]), float(((out[1:] - out[0]) ** 2).sum())


def _cumprods(num_steps: int) -> list[float]:
    """alpha-bar of the linear schedule with T = 1000 at `num_steps` equally spaced timesteps including both ends."""
    products, running = [], 1.0
    for t in range(1000):
        running *= 1 - (1e-4 + t * (0.02 - 1e-4) / 999)
        products.append(running)
    return [products[round(k * 999 / (num_steps - 1))] for k in range(num_steps)]


def _after(steps: Iterable[_Step]) -> tuple[float, float]:
    """Mean and variance after the steps, starting from x_T of N(0, 1)."""
    mean, variance = 0.0, 1.0
    for factor, added, before, after in steps:
        mean, variance = after * _MEAN + factor * (mean - before * _MEAN), factor**2 * variance + added
    return mean, variance


def _backwards(cumprods: list[float]) -> Iterator[tuple[int, float, float, float]]:
    """t, alpha-bar_t, alpha-bar_{t-1} and the factor of x_t in E[x_0 | x_t], from the last t to 0."""
    for t in reversed(range(len(cumprods))):
        now, before = cumprods[t], cumprods[t - 1] if t else 1.0
        yield t, now, before, math.sqrt(now) * _VARIANCE / (now * _VARIANCE + 1 - now)


def _ancestral(cumprods: list[float], *, large: bool) -> Iterator[_Step]:
    for t, now, before, gain in _backwards(cumprods):
        beta = 1 - now / before
        factor = (beta * math.sqrt(before) * gain + (1 - before) * math.sqrt(1 - beta)) / (1 - now)
        added = (beta if large else beta * (1 - before) / (1 - now)) if t else 0.0
        yield factor, added, math.sqrt(now), math.sqrt(before)


def _ddim(cumprods: list[float]) -> Iterator[_Step]:
    for _, now, before, gain in _backwards(cumprods):
        factor = math.sqrt(before) * gain + math.sqrt((1 - before) / (1 - now)) * (1 - math.sqrt(now) * gain)
        yield factor, 0.0, math.sqrt(now), math.sqrt(before)


def _heun(cumprods: list[float]) -> Iterator[_Step]:
    """In y = x / sqrt(alpha-bar): dy / dsigma = (y - mean) sigma / (variance + sigma^2), the last step Euler's."""
    yield 1 / math.sqrt(cumprods[-1]), 0.0, math.sqrt(cumprods[-1]), 1.0
    sigmas = [math.sqrt(1 / now - 1) for now in cumprods]
    slopes = [sigma / (_VARIANCE + sigma**2) for sigma in sigmas]
    for t in reversed(range(1, len(cumprods))):
        step = sigmas[t - 1] - sigmas[t]
        yield 1 + step * (slopes[t] + slopes[t - 1] * (1 + step * slopes[t])) / 2, 0.0, 1.0, 1.0
    yield 1 - sigmas[0] * slopes[0], 0.0, 1.0, 1.0


def _langevin(cumprods: list[float], *, predictor: bool) -> Iterator[_Step]:
    """Steps x + d score + sqrt(2 d) z towards q(x_t) with variance V: factor 1 - d / V. The last is to E[x_0 | x_t]."""
    ancestral = list(_ancestral(cumprods, large=False))
    for (t, now, _, gain), step in zip(_backwards(cumprods), ancestral, strict=True):
        length = _STEP_SIZE * (1 - now)
        for _ in range(_LANGEVIN_STEPS):
            yield 1 - length / (now * _VARIANCE + 1 - now), 2 * length, math.sqrt(now), math.sqrt(now)
        if t == 0:
            yield gain, 0.0, math.sqrt(now), 1.0
        elif predictor:
            yield step
