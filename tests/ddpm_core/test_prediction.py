import pytest
import torch

from ddpm_core.choices import Parameterisation
from ddpm_core.diffusion import q_sample
from ddpm_core.prediction import convert, predict_eps, predict_x_start, score, target
from ddpm_core.schedule import with_zero_terminal_snr
from tests.oracles.predictions import SCHEDULE, T, column, images, truth

PAIRS = [(source, to) for source in Parameterisation for to in Parameterisation]


def test_x_0_and_eps_are_found_again_from_x_t():
    x_start, noise = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise)
    torch.testing.assert_close(predict_x_start(SCHEDULE, x_t, T, noise), x_start, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(predict_eps(SCHEDULE, x_t, T, x_start), noise, rtol=1e-9, atol=1e-10)


def test_score_is_the_gradient_of_log_q():
    x_start, noise = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise).requires_grad_()
    cumprod = column(SCHEDULE.alphas_cumprod[T])
    log_q = torch.distributions.Normal(cumprod.sqrt() * x_start, (1 - cumprod).sqrt()).log_prob(x_t).sum()
    (gradient,) = torch.autograd.grad(log_q, x_t)
    torch.testing.assert_close(score(SCHEDULE, T, noise), gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("parameterisation", Parameterisation)
def test_targets_are_their_definitions(parameterisation):
    x_start, noise = images(0), images(1)
    found = target(SCHEDULE, x_start, noise, T, parameterisation)
    torch.testing.assert_close(found, truth(parameterisation, x_start, noise), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("source", "to"), PAIRS)
def test_a_prediction_says_the_same_in_every_parameterisation(source, to):
    x_start, noise = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_start, T, noise)
    found = convert(SCHEDULE, x_t, T, truth(source, x_start, noise), source=source, to=to)
    torch.testing.assert_close(found, truth(to, x_start, noise), rtol=1e-6, atol=1e-7)


def test_v_is_the_velocity_along_the_angle():
    """x(phi) = cos(phi) x_0 + sin(phi) eps, cos^2 = alpha-bar: v = dx / dphi, here by a central difference."""
    x_start, noise, step = images(0), images(1), 1e-6
    phi = torch.arccos(column(SCHEDULE.alphas_cumprod[T].sqrt()))

    def x(angle: torch.Tensor) -> torch.Tensor:
        return torch.cos(angle) * x_start + torch.sin(angle) * noise

    slope = (x(phi + step) - x(phi - step)) / (2 * step)
    found = target(SCHEDULE, x_start, noise, T, Parameterisation.V)
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-7)


def test_v_starts_a_chain_that_eps_cannot():
    """At alpha-bar_T = 0, v = -x_0, so x_0 is known; at every t both lead back to it."""
    schedule = with_zero_terminal_snr(SCHEDULE)
    x_start, noise = images(0), images(1)
    x_t = q_sample(schedule, x_start, T, noise)
    v = target(schedule, x_start, noise, T, Parameterisation.V)
    torch.testing.assert_close(v[-1], -x_start[-1])
    torch.testing.assert_close(predict_x_start(schedule, x_t, T, v, Parameterisation.V), x_start)
