import math

import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Loss, Parameterisation, Variance
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.objective import (
    Objective,
    bound_loss,
    bound_weight,
    hybrid_loss,
    min_snr_weight,
    score_matching_loss,
    simple_loss,
)
from ddpm_core.prediction import predict_x_start, score
from ddpm_core.reverse import p_mean_variance
from ddpm_core.schedule import linear_schedule, with_zero_terminal_snr
from tests.oracles.denoisers import gaussian


def test_simple_loss_is_the_mean_square_of_each_image():
    eps, pred_eps = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    expected = [((eps[i] - pred_eps[i]) ** 2).sum() / 32 for i in range(3)]
    torch.testing.assert_close(simple_loss(eps, pred_eps), torch.stack(expected))


def test_simple_loss_of_bfloat16_is_summed_in_float32():
    """In bfloat16 a mean over 4096 squares would keep two digits."""
    eps = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    pred_eps = (0.9 * eps).to(torch.bfloat16)
    found = simple_loss(eps, pred_eps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), simple_loss(eps.double(), pred_eps.double()), rtol=1e-5, atol=0)


SCHEDULE = linear_schedule()
ALL_T = torch.arange(1000)


def drawn(seed: int, count: int = 1000, channels: int = 1) -> torch.Tensor:
    return torch.randn(count, channels, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
def test_the_seeds_weight_turns_squared_errors_into_the_bound(variance):
    """Eq. (12) is KL's quadratic part: L_{t-1} of one eps_theta less that of another, in nats and summed, t >= 1."""
    x_start, noise = drawn(0), drawn(1)
    x_t = q_sample(SCHEDULE, x_start, ALL_T, noise)
    terms, errors = [], []
    for guess in (noise + 0.3 * drawn(2), drawn(3)):
        bound = bound_loss(SCHEDULE, guess, x_start, x_t, ALL_T, variance=variance)
        terms.append(bound * math.log(2) * x_start[0].numel())
        errors.append(((noise - guess) ** 2).sum(dim=(1, 2, 3)))
    weighted = bound_weight(SCHEDULE, variance) * (errors[0] - errors[1])
    torch.testing.assert_close((terms[0] - terms[1])[1:], weighted[1:], rtol=1e-7, atol=1e-9)


def test_the_bounds_terms_are_those_of_the_whole_bound():
    schedule = linear_schedule(20, 1e-3, 0.3)
    x_start = (torch.randint(0, 256, (3, 1, 2, 2), generator=torch.Generator().manual_seed(0)) / 127.5 - 1).double()
    network = gaussian(schedule.alphas_cumprod, 0.1, 0.3)
    whole = bits_per_dim(network, schedule, x_start, noise=lambda t: drawn(t, 3), clip_x_start=False)
    for t in range(20):
        steps = torch.full((3,), t)
        x_t = q_sample(schedule, x_start, steps, drawn(t, 3))
        found = bound_loss(schedule, network(x_t, steps), x_start, x_t, steps, variance=Variance.FIXED_LARGE)
        torch.testing.assert_close(found, whole.decoder_bpd if t == 0 else whole.step_bpd[:, t - 1])


def test_the_hybrid_losss_bound_moves_the_variance_alone():
    x_start, noise, t = drawn(0, 6), drawn(1, 6), torch.tensor([0, 1, 5, 100, 500, 999])
    output = torch.cat((drawn(2, 6), drawn(3, 6)), dim=1).requires_grad_()
    loss = hybrid_loss(SCHEDULE, output, x_start, noise, t, variance=Variance.LEARNED_RANGE)
    loss.sum().backward()
    simple = output.detach()[:, :1].clone().requires_grad_()
    simple_loss(noise, simple).sum().backward()
    torch.testing.assert_close(output.grad[:, :1], simple.grad)
    assert bool((output.grad[:, 1:] != 0).all())
    x_t = q_sample(SCHEDULE, x_start, t, noise)
    bound = bound_loss(SCHEDULE, output, x_start, x_t, t, variance=Variance.LEARNED_RANGE)
    torch.testing.assert_close(loss, simple_loss(noise, output[:, :1]) + bound)


def test_the_best_learned_variance_is_found_by_the_hybrid_loss():
    """The optimum of the KL over the log variance is log(posterior variance + squared error of the mean)."""
    t, count = torch.tensor([50]), 1
    x_start, noise = drawn(0, count), drawn(1, count)
    x_t = q_sample(SCHEDULE, x_start, t, noise)
    guess = noise + 0.5
    posterior = q_posterior(SCHEDULE, x_start, x_t, t)
    error = p_mean_variance(SCHEDULE, guess, x_t, t, clip_x_start=False).mean - posterior.mean
    best = torch.log(posterior.variance + error**2).requires_grad_()
    output = torch.cat((guess, best), dim=1)
    hybrid_loss(SCHEDULE, output, x_start, noise, t, variance=Variance.LEARNED).sum().backward()
    torch.testing.assert_close(best.grad, torch.zeros_like(best), rtol=0, atol=1e-10)


def test_the_hybrid_loss_is_for_learned_variances():
    with pytest.raises(ValueError, match="for learned variances; got fixed_small"):
        hybrid_loss(SCHEDULE, drawn(0), drawn(1), drawn(2), ALL_T, variance=Variance.FIXED_SMALL)


@pytest.mark.parametrize("parameterisation", [Parameterisation.EPS, Parameterisation.X_START, Parameterisation.V])
def test_min_snr_weighs_the_same_error_of_x_0_alike(parameterisation):
    """An error of the prediction, turned into one of x_0, weighs min(SNR, gamma), whatever was predicted."""
    x_t, prediction = drawn(0), drawn(1)
    nudged = prediction + 1e-3
    error = (
        predict_x_start(SCHEDULE, x_t, ALL_T, nudged, parameterisation)
        - predict_x_start(SCHEDULE, x_t, ALL_T, prediction, parameterisation)
    ).mean(dim=(1, 2, 3))
    snr = SCHEDULE.alphas_cumprod / (1 - SCHEDULE.alphas_cumprod)
    found = min_snr_weight(SCHEDULE, ALL_T, parameterisation).double() * 1e-6
    torch.testing.assert_close(found, snr.clamp(max=5) * error**2, rtol=1e-5, atol=0)


def test_score_matching_is_l_simple_up_to_its_weight():
    x_start, noise, guess = drawn(0), drawn(1), drawn(2)
    x_t = q_sample(SCHEDULE, x_start, ALL_T, noise)
    found = score_matching_loss(SCHEDULE, score(SCHEDULE, ALL_T, guess), x_start, x_t, ALL_T)
    torch.testing.assert_close(found * (1 - SCHEDULE.alphas_cumprod), simple_loss(noise, guess), rtol=1e-7, atol=0)


def test_the_conditional_score_is_the_gradient_of_the_log_density():
    x_start, t = drawn(0), ALL_T
    x_t = q_sample(SCHEDULE, x_start, t, drawn(1)).requires_grad_()
    mean = SCHEDULE.alphas_cumprod.sqrt().reshape(-1, 1, 1, 1) * x_start
    std = (1 - SCHEDULE.alphas_cumprod).sqrt().reshape(-1, 1, 1, 1)
    torch.distributions.Normal(mean, std.expand_as(mean)).log_prob(x_t).sum().backward()
    loss = score_matching_loss(SCHEDULE, x_t.grad, x_start, x_t.detach(), t)
    assert float((loss * (1 - SCHEDULE.alphas_cumprod)).max()) < 1e-12


def test_min_snr_is_finite_where_nothing_of_the_image_is_left():
    schedule = with_zero_terminal_snr(SCHEDULE)
    assert min_snr_weight(schedule, torch.tensor([999]), Parameterisation.EPS).tolist() == [1]
    assert min_snr_weight(schedule, torch.tensor([999]), Parameterisation.V).tolist() == [0]


@pytest.mark.parametrize(
    ("parameterisation", "gamma", "said"),
    [(Parameterisation.X_PREV, 5.0, "got x_prev"), (Parameterisation.V, 0.0, "gamma must be above 0; got 0")],
)
def test_min_snr_of_what_it_is_not_for(parameterisation, gamma, said):
    with pytest.raises(ValueError, match=said):
        min_snr_weight(SCHEDULE, ALL_T, parameterisation, gamma)


@pytest.mark.parametrize("loss", Loss)
def test_a_loss_uses_the_settings_that_it_says(loss):
    variance = Variance.LEARNED_RANGE if loss is Loss.HYBRID else Variance.FIXED_LARGE
    x_start, noise, t = drawn(0, 4).clamp(-1, 1), drawn(1, 4), torch.tensor([0, 10, 500, 999])
    output = drawn(2, 4, channels=2 if variance.is_learned else 1)
    one, other = (
        Objective(loss=loss, variance=variance, min_snr_gamma=gamma)(SCHEDULE, output, x_start, noise, t)
        for gamma in (5.0, 4.0)
    )
    assert (not torch.equal(one, other)) == ("min_snr_gamma" in loss.uses)
