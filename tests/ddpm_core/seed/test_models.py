"""The seed's models, loss and algorithms: statements that no other test shows, each by a second derivation.

The seed counts t = 1..T, the code t = 0..T-1: names here that end in `_1_based` follow the seed.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.likelihood.bound import bits_per_dim, step_bits_per_dim
from ddpm_core.objective import bound_loss, bound_weight
from ddpm_core.prediction import score
from ddpm_core.reverse import p_mean_variance
from ddpm_core.samplers.ancestral import ddpm_sample
from ddpm_core.samplers.langevin import langevin_step
from ddpm_core.schedule import linear_schedule
from tests.ddpm_core.seed.values import GREY, LINEAR, SHORT, draws, pixels, schedule_of
from tests.oracles.denoisers import gaussian, gaussian_mixture


def test_l_t_is_the_same_for_every_network():
    models = [gaussian(SHORT.alphas_cumprod, 0.0, 1.0), lambda x_t, t: 3 * x_t + 1]
    one, other = (bits_per_dim(model, SHORT, draws(0, 2), noise=lambda t: draws(t, 2)) for model in models)
    assert torch.equal(one.prior_bpd, other.prior_bpd)
    assert not torch.equal(one.step_bpd, other.step_bpd)


@pytest.mark.parametrize(("spread", "signs"), [(0.0, [0, -1]), (0.25, [1, -1]), (1.0, [1, 0]), (4.0, [1, 1])])
@pytest.mark.parametrize("t", [1, 7, 19])
def test_the_best_variance_for_normal_data(spread, signs, t):
    """L_{t-1}'s gradient in the log variance vanishes at Var(x_{t-1} | x_t), by the conditioning of two normals.

    That is beta-tilde for a point mass, beta for N(0, I), between them in between, and above both for wider data.
    """
    x_start, eps, steps = math.sqrt(spread) * pixels([-1, -1, 1, 1]), pixels([-1, 1, -1, 1]), torch.full((4,), t)
    before, beta = float(SHORT.alphas_cumprod[t - 1]), float(SHORT.betas[t])
    earlier = before * spread + 1 - before
    best = beta * earlier / ((1 - beta) * earlier + beta)
    log_variance = torch.full_like(x_start, math.log(best)).requires_grad_()
    x_t = q_sample(SHORT, x_start, steps, eps)
    output = torch.cat((gaussian(SHORT.alphas_cumprod, 0.0, spread)(x_t, steps), log_variance), dim=1)
    bound_loss(SHORT, output, x_start, x_t, steps, variance=Variance.LEARNED).sum().backward()
    assert float(log_variance.grad.sum()) == pytest.approx(0, abs=1e-9)
    ratios = np.array([best / float(SHORT.posterior_variance[t]), best / beta])
    assert np.sign(np.round(ratios - 1, 9)).tolist() == signs


@pytest.mark.parametrize("t", [1, 5, 19])
def test_the_two_variances_bound_the_entropy_of_data_of_unit_variance(t):
    """H(x_{t-1} | x_t) = H(x_{t-1}) + H(x_t | x_{t-1}) - H(x_t) of two even normals at +-0.8, by integration."""
    grid = np.linspace(-8, 8, 40_001)

    def entropy(cumprod: float) -> float:
        std = math.sqrt(cumprod * (1 - 0.8**2) + 1 - cumprod)
        density = sum(stats.norm.pdf(grid, sign * 0.8 * math.sqrt(cumprod), std) / 2 for sign in (-1, 1))
        return -float(np.trapezoid(density * np.log(np.maximum(density, 1e-300)), grid))

    def of_normal_with(variance: float) -> float:
        return 0.5 * math.log(2 * math.pi * math.e * variance)

    beta = float(SHORT.betas[t])
    found = entropy(float(SHORT.alphas_cumprod[t - 1])) + of_normal_with(beta) - entropy(float(SHORT.alphas_cumprod[t]))
    assert of_normal_with(float(SHORT.posterior_variance[t])) < found < of_normal_with(beta)


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
def test_a_term_is_a_weighted_distance_of_means_and_a_constant(variance):
    x_start, x_t, t = draws(0, 999), draws(1, 999), torch.arange(1, 1000)
    reverse = p_mean_variance(LINEAR, draws(2, 999), x_t, t, variance=variance, clip_x_start=False)
    nats = step_bits_per_dim(LINEAR, x_start, x_t, t, reverse) * 4 * math.log(2)
    squared = LINEAR.betas[1:] if variance is Variance.FIXED_LARGE else LINEAR.posterior_variance[1:]
    distance = ((q_posterior(LINEAR, x_start, x_t, t).mean - reverse.mean) ** 2).sum(dim=(1, 2, 3))
    ratio = LINEAR.posterior_variance[1:] / squared
    constant = 4 * (ratio - 1 - ratio.log()) / 2
    torch.testing.assert_close(nats, distance / (2 * squared) + constant, rtol=1e-7, atol=1e-10)


def of_one_step(beta: float) -> tuple[float, float, float]:
    """By how much the ancestral mean misses x_t, the Langevin step and that step with the flow's, at alpha-bar 0.5."""
    schedule = schedule_of(1 - 0.5 / (1 - beta), beta)
    x_t, steps, zero = pixels([-1.2, -0.1, 0.4, 1.0]), torch.full((4,), 1), pixels([0.0] * 4)
    model = gaussian_mixture(schedule.alphas_cumprod, (-0.5, 0.7), 0.05)
    eps = model(x_t, steps)
    ancestral = p_mean_variance(schedule, eps, x_t, steps, clip_x_start=False).mean
    # d = beta / 2, so that the step's noise sqrt(2 d) is the chain's sqrt(beta).
    langevin = langevin_step(model, schedule, x_t, 1, zero, step_size=beta / 2 / 0.5)
    flow = beta / 2 * (x_t + score(schedule, steps, eps))
    return tuple(float((ancestral - guess).abs().max()) for guess in (x_t, langevin, langevin + flow))


def test_a_sampling_step_is_a_langevin_step_and_the_flows_to_first_order():
    """Langevin dynamics of the same noise has half the drift; the other half and x / sqrt(alpha) are the flow's.

    What is left falls with beta^2, what Langevin dynamics alone leaves with beta only.
    """
    ratios = [coarse / fine for coarse, fine in zip(of_one_step(2e-3), of_one_step(1e-3), strict=True)]
    assert ratios == pytest.approx([2, 2, 4], rel=0.02)


def test_the_bound_weighs_errors_of_the_score_by_beta_over_2_alpha():
    """||eps - eps_theta||^2 is (1 - alpha-bar) ||score error||^2, so eq. (12) with sigma^2 = beta is this simple."""
    found = bound_weight(LINEAR, Variance.FIXED_LARGE) * (1 - LINEAR.alphas_cumprod)
    torch.testing.assert_close(found[1:], (LINEAR.betas / (2 * LINEAR.alphas))[1:])


def test_l_0_is_the_weighted_error_where_bins_are_narrow():
    """-log(bin width * density) differs between two guesses by eq. (12) at t = 0, where 1 - alpha-bar is beta."""
    schedule = linear_schedule(20, 0.05, 0.3)
    x_start, noise, zero = pixels([GREY]), pixels([0.4]), torch.tensor([0])
    x_t = q_sample(schedule, x_start, zero, noise)
    terms, errors = [], []
    for guess in (noise + 1.0, noise - 0.2):
        terms.append(bound_loss(schedule, guess, x_start, x_t, zero, variance=Variance.FIXED_LARGE) * math.log(2))
        errors.append((noise - guess).flatten() ** 2)
    weighted = bound_weight(schedule, Variance.FIXED_LARGE)[0] * (errors[0] - errors[1])
    torch.testing.assert_close(terms[0] - terms[1], weighted.reshape(1), rtol=1e-3, atol=0)


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
def test_leaving_the_weight_out_counts_small_t_less(variance):
    """Ho's weight is largest at small t: beside the bound L_simple's 1 weighs small t down, large t up."""
    weight = bound_weight(LINEAR, variance)[1:]
    lowest = int(weight.argmin())
    assert bool((weight[:lowest].diff() < 0).all())
    assert bool((weight[lowest:].diff() > 0).all())
    assert 200 < lowest < 500
    assert float(weight[0] / weight[-1]) > 25
    assert float(weight[-1] / weight[lowest]) < 3


@pytest.mark.parametrize("variance", FIXED_VARIANCES)
def test_the_seeds_loop_draws_the_same_samples(variance):
    """Its sampling algorithm as written, but for the -1 that `range` needs; index 0 of each table is left unused."""
    model, T = gaussian(SHORT.alphas_cumprod, 0.1, 0.25), SHORT.num_timesteps
    unused = torch.zeros(1, dtype=torch.float64)
    beta_1_based = torch.cat((unused, SHORT.betas))
    squared = SHORT.betas if variance is Variance.FIXED_LARGE else SHORT.posterior_variance
    sigma_1_based = torch.cat((unused, squared.sqrt()))
    cumprod_1_based = (1 - beta_1_based).cumprod(0)
    x = x_T = draws(99, 3)
    assert list(range(T, 0)) == []
    for t in range(T, 0, -1):
        z = draws(t, 3) if t > 1 else torch.zeros_like(x)
        eps = model(x, torch.full((3,), t - 1))
        drift = beta_1_based[t] / (1 - cumprod_1_based[t]).sqrt() * eps
        x = (x - drift) / (1 - beta_1_based[t]).sqrt() + sigma_1_based[t] * z
    found = ddpm_sample(model, SHORT, x_T, noise=lambda t: draws(t + 1, 3), variance=variance, clip_x_start=False)
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-11)
