"""The network as a score: Langevin steps have the moments of their recursion, and samplers built of them too."""

import math

import pytest
import torch

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.prediction import convert
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.langevin import langevin_sample, langevin_step
from ddpm_core.schedule import linear_schedule
from tests.oracles.denoisers import gaussian

SCHEDULE = linear_schedule(30, 1e-3, 0.3)
MEAN, VARIANCE = 0.1, 0.25
MODEL = gaussian(SCHEDULE.alphas_cumprod, MEAN, VARIANCE)


def marginal(t: int) -> tuple[float, float]:
    cumprod = float(SCHEDULE.alphas_cumprod[t])
    return math.sqrt(cumprod) * MEAN, cumprod * VARIANCE + 1 - cumprod


@pytest.mark.parametrize("t", [0, 10, 29])
@pytest.mark.parametrize("step_size", [0.05, 0.5])
def test_steps_tend_to_the_marginal_up_to_their_length(t, step_size):
    """x' = m + (1 - d / V)(x - m) + sqrt(2 d) z is stationary at mean m and variance V / (1 - d / (2 V))."""
    mean, variance = marginal(t)
    length = step_size * (1 - float(SCHEDULE.alphas_cumprod[t]))
    expected = variance / (1 - length / (2 * variance))
    x = mean + torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    moved = langevin_step(MODEL, SCHEDULE, x, t, torch.zeros_like(x), step_size=step_size).flatten()
    pushed = langevin_step(MODEL, SCHEDULE, x, t, torch.ones_like(x), step_size=step_size).flatten()
    factor, added = float(moved[1] - moved[0]), float((pushed[0] - moved[0]) ** 2)
    assert float(moved[0]) == pytest.approx(mean)
    assert added / (1 - factor**2) == pytest.approx(expected)


def moments(predictor: bool, steps_per_level: int, step_size: float) -> tuple[float, float]:
    """Mean and variance of what the sampler ends with, by a scalar recursion over its steps."""
    mean, spread = 0.0, 1.0
    betas, cumprod = SCHEDULE.betas.tolist(), SCHEDULE.alphas_cumprod.tolist()
    for t in reversed(range(30)):
        centre, variance = marginal(t)
        length = step_size * (1 - cumprod[t])
        for _ in range(steps_per_level):
            factor = 1 - length / variance
            mean, spread = centre + factor * (mean - centre), factor**2 * spread + 2 * length
        gain = math.sqrt(cumprod[t]) * VARIANCE / variance
        if t == 0:
            mean, spread = MEAN + gain * (mean - centre), gain**2 * spread
        elif predictor:
            before = cumprod[t - 1]
            to_start = betas[t] * math.sqrt(before) / (1 - cumprod[t])
            stay = (1 - before) * math.sqrt(1 - betas[t]) / (1 - cumprod[t])
            mean = to_start * (MEAN + gain * (mean - centre)) + stay * mean
            spread = (to_start * gain + stay) ** 2 * spread + betas[t] * (1 - before) / (1 - cumprod[t])
    return mean, spread


@pytest.mark.parametrize(
    ("predictor", "steps_per_level", "step_size"), [(True, 0, 0.1), (True, 2, 0.1), (False, 3, 0.2)]
)
def test_samples_have_the_moments_of_the_recursion(predictor, steps_per_level, step_size):
    """A linear chain, so without chance: image 0 gets no draw, image k a unit of draw k alone."""
    places = [(t, k) for t in reversed(range(30)) for k in range(steps_per_level + 1)]
    count = len(places) + 2

    def unit(number: int) -> torch.Tensor:
        one = torch.zeros(count, 1, 1, 1, dtype=torch.float64)
        one[number] = 1
        return one

    out = langevin_sample(
        MODEL,
        SCHEDULE,
        unit(1),
        noise=lambda t, k: unit(2 + places.index((t, k))),
        steps_per_level=steps_per_level,
        step_size=step_size,
        predictor=predictor,
    ).flatten()
    found = float(out[0]), float(((out[1:] - out[0]) ** 2).sum())
    assert found == pytest.approx(moments(predictor, steps_per_level, step_size), abs=1e-9)


def test_annealed_langevin_dynamics_come_close_to_the_data():
    mean, variance = moments(predictor=False, steps_per_level=400, step_size=0.05)
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert variance == pytest.approx(VARIANCE, rel=0.05)


def test_a_predictor_without_corrections_is_the_ancestral_chain():
    x_T, *draws = torch.randn(31, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    ancestral = ddpm_sample(MODEL, SCHEDULE, x_T, noise=lambda t: draws[t], variance=Variance.FIXED_SMALL)
    found = langevin_sample(MODEL, SCHEDULE, x_T, noise=lambda t, _: draws[t], steps_per_level=0, clip_x_start=True)
    torch.testing.assert_close(found, ancestral)


def test_every_parameterisation_is_read_as_the_same_score():
    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return convert(SCHEDULE, x_t, t, MODEL(x_t, t), source=Parameterisation.EPS, to=Parameterisation.V)

    x_t = torch.linspace(-1, 1, 4, dtype=torch.float64).reshape(4, 1, 1, 1)
    found = langevin_step(model, SCHEDULE, x_t, 3, x_t, step_size=0.1, parameterisation=Parameterisation.V)
    torch.testing.assert_close(found, langevin_step(MODEL, SCHEDULE, x_t, 3, x_t, step_size=0.1))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"steps_per_level": -1}, "steps_per_level must be at least 0; got -1"),
        ({"steps_per_level": 0, "predictor": False}, "steps_per_level must be at least 1; got 0"),
        ({"step_size": 0.0}, r"step_size must lie in \(0, 1\]; got 0"),
        ({"step_size": 1.5}, r"step_size must lie in \(0, 1\]; got 1\.5"),
    ],
)
def test_what_is_refused(more, said):
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match=said):
        langevin_sample(MODEL, SCHEDULE, x, noise=lambda t, k: x, **more)
