"""Each way to break a reverse chain is seen, by the family that is about it."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ddpm_core import reverse
from ddpm_core.choices import Variance
from ddpm_core.reverse import reverse_log_variance
from ddpm_core.rng import Stream, normal
from ddpm_core.samplers import ancestral, ddim, langevin, ode
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.ddim import ddim_sample
from ddpm_core.samplers.langevin import langevin_sample
from ddpm_core.schedule import respace
from ddpm_core.selftest import samplers
from ddpm_core.selftest.samplers import check_respaced
from tests.ddpm_core.selftest.family import failures, spoil

respaced = partial(failures, "ancestral", check_respaced)
# Without the two seconds that 1000 steps take.
OF_50_STEPS = {"ancestral": respaced} | {name: partial(failures, name) for name in ("ddim", "ode", "langevin")}
SWAPPED = {Variance.FIXED_SMALL: Variance.FIXED_LARGE, Variance.FIXED_LARGE: Variance.FIXED_SMALL}


def test_noise_at_t_0(monkeypatch):
    def noisy(model, schedule, x_T, *, noise, **more):
        std = float(schedule.posterior_variance[1]) ** 0.5
        return ddpm_sample(model, schedule, x_T, noise=noise, **more) + std * noise(0)

    monkeypatch.setattr(samplers, "ddpm_sample", noisy)
    assert failures("ancestral") == [
        "fixed_small, 1000 steps: variance",
        "fixed_large, 1000 steps: variance",
        "fixed_small, 50 steps: variance",
        "fixed_large, 50 steps: variance",
        "one point, 50 steps in float32: largest error",
    ]


def test_variances_swapped(monkeypatch):
    monkeypatch.setattr(reverse, "reverse_log_variance", lambda schedule, v: reverse_log_variance(schedule, SWAPPED[v]))
    assert {"fixed_small, 50 steps: variance", "fixed_large, 50 steps: variance"} <= set(respaced())
    assert failures("langevin") == ["predictor-corrector: variance"]


@pytest.mark.parametrize("table", ["posterior_mean_coef_x_start", "posterior_mean_coef_x_t"])
def test_another_posterior_coefficient(monkeypatch, table):
    spoil(monkeypatch, table, lambda values: values * (1 - 1e-5))
    assert len(respaced()) >= 4
    assert "predictor-corrector: variance" in failures("langevin")


@pytest.mark.parametrize("family", OF_50_STEPS)
def test_a_respaced_chain_that_tells_its_own_timesteps(monkeypatch, family):
    monkeypatch.setattr(samplers, "respace", lambda whole, n: replace(respace(whole, n), timesteps=torch.arange(n)))
    assert OF_50_STEPS[family]()


@pytest.mark.parametrize("family", OF_50_STEPS)
def test_timesteps_off_by_one(monkeypatch, family):
    """The chain does t = 1 twice and never t = 0."""
    for module in (ancestral, ddim, ode, langevin):
        original = module.timestep_batch
        monkeypatch.setattr(module, "timestep_batch", lambda t, x, ask=original: ask(max(t, 1), x))
    assert OF_50_STEPS[family]()


def test_too_little_noise(monkeypatch):
    """Half of a percent is beyond what drawn samples show; the moments without chance show it."""

    def still(model, schedule, x_T, *, noise, **more):
        return ddpm_sample(model, schedule, x_T, noise=lambda t: 0.995 * noise(t), **more)

    monkeypatch.setattr(samplers, "ddpm_sample", still)
    assert respaced() == ["fixed_small, 50 steps: variance", "fixed_large, 50 steps: variance"]


def test_the_same_noise_at_every_step(monkeypatch):
    """A fault that only drawn samples show: a source of noise that repeats itself."""
    monkeypatch.setattr(samplers, "normal", lambda seed, _, index, shape, t: normal(seed, Stream.Z_T, index, shape, 7))
    assert respaced() == ["drawn in float32, 50 steps: mean", "drawn in float32, 50 steps: variance"]


@pytest.mark.parametrize(("given", "other_way"), [(1.0, "eta 0"), (0.0, "eta 1")])
def test_another_eta(monkeypatch, given, other_way):
    def other(model, schedule, x_T, *, eta, **more):
        return ddim_sample(model, schedule, x_T, eta=given, **more)

    monkeypatch.setattr(samplers, "ddim_sample", other)
    assert failures("ddim") == [f"{other_way}, 50 steps: mean", f"{other_way}, 50 steps: variance"]


def test_eulers_method_for_heuns(monkeypatch):
    """DDIM is Euler's method for the flow."""
    monkeypatch.setattr(
        samplers,
        "ode_sample",
        lambda model, schedule, x_T: ddim_sample(model, schedule, x_T, clip_x_start=False),
    )
    assert failures("ode") == ["Heun, 50 steps: mean", "Heun, 50 steps: variance"]


def test_half_the_score(monkeypatch):
    score = langevin.score
    monkeypatch.setattr(langevin, "score", lambda *arguments: score(*arguments) / 2)
    assert len(failures("langevin")) == 4


def test_a_corrector_of_another_length(monkeypatch):
    def other(model, schedule, x_T, *, step_size, **more):
        return langevin_sample(model, schedule, x_T, step_size=1.001 * step_size, **more)

    monkeypatch.setattr(samplers, "langevin_sample", other)
    assert "annealed Langevin dynamics: variance" in failures("langevin")


@pytest.mark.parametrize("family", OF_50_STEPS)
def test_another_denoiser(monkeypatch, family):
    """A network off by a thousandth is no fault of the chain, but it must show."""
    original = samplers.gaussian_denoiser
    monkeypatch.setattr(
        samplers, "gaussian_denoiser", lambda table, mean, variance: original(table, mean, 1.001 * variance)
    )
    assert OF_50_STEPS[family]()
