"""Checks of the reported figures: the bound in bits/dim, the decoder's bins, the Fréchet distance.

If the data are a single point, the best denoiser makes every term of the bound a constant. On Gaussian data the best
denoiser is the conditional mean, and every term's expectation has a closed form.
"""

import math
from itertools import pairwise

import torch

from ddpm_core.choices import Variance
from ddpm_core.denoisers import gaussian_denoiser, point_mass_denoiser
from ddpm_core.gaussian import NormalCdf, discretized_gaussian_log_likelihood
from ddpm_core.images import to_model_range, to_uint8
from ddpm_core.likelihood.bound import bits_per_dim, bits_per_dim_by_variance, prior_bits_per_dim
from ddpm_core.likelihood.estimate import estimate_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.metrics.frechet import FeatureStats, frechet_distance
from ddpm_core.rng import Stream, normal
from ddpm_core.schedule import linear_schedule, respace
from ddpm_core.selftest.check import Check, largest

_SMALL_AND_LARGE = (Variance.FIXED_SMALL, Variance.FIXED_LARGE)
# Linear schedule, T = 1000: sum over t >= 1 of (r - 1 - log r) / (2 ln 2), r = posterior variance / beta, in bits/dim.
_FIXED_LARGE_FLOOR = 0.486419230044
# -log2(Phi(h/s) - Phi(-h/s)) with h = 1/255 and s^2 = 5.4531876613e-05, in bits/dim; and with the tanh form of Phi.
_DECODER_EXACT, _DECODER_TANH = 1.30537766, 1.30566515
_DECODER_STD = math.sqrt(5.4531876613e-05)
_GREY = 100 / 127.5 - 1
# L_T = (abar (x_0^2 - 1) - log(1 - abar)) / (2 ln 2) at |x_0| = 1 and 0; linear in x_0^2 between them.
_EDGE_PRIOR, _NO_PRIOR = 2.911294542e-05, 5.874784e-10
_VARIANCE, _SHORT = 0.25, 50


def check_point_mass_bound(device: torch.device) -> list[Check]:
    """Check the bound on one known image, linear schedule with T = 1000: every term is a constant, in bits/dim.

    Under fixed small variance the sum of KLs is 0, under fixed large 0.486419230044; L_0 is that of one grey level.
    """
    name = "bound"
    schedule = linear_schedule().to(device)
    x = torch.full((1, 1, 2, 2), _GREY, device=device)
    model = point_mass_denoiser(schedule.alphas_cumprod, x)
    draws = normal(0, Stream.NLL, torch.arange(1000, device=device), (1, 1, 2, 2))
    small, large = bits_per_dim_by_variance(model, schedule, x, noise=draws.__getitem__, variances=_SMALL_AND_LARGE)
    steps = large.step_bpd[0]
    (estimate,) = estimate_bits_per_dim(
        model,
        schedule,
        x.expand(8, 1, 2, 2),
        noise=lambda k: draws[k].expand(8, 1, 2, 2),
        uniforms=torch.linspace(0.05, 0.95, 16, dtype=torch.float64, device=device).reshape(8, 2),
        proposal=TimestepProposal(steps / steps.sum()),
        variances=[Variance.FIXED_LARGE],
    )
    error = largest(estimate.steps_bpd - _FIXED_LARGE_FLOOR)
    total = _FIXED_LARGE_FLOOR + _DECODER_EXACT + _NO_PRIOR + _GREY**2 * (_EDGE_PRIOR - _NO_PRIOR)
    return [
        Check(name, "one point, fixed small: sum of KLs, bits/dim", float(small.step_bpd.sum()), 0.0, 1e-9),
        Check(name, "one point, fixed large: sum of KLs, bits/dim", float(steps.sum()), _FIXED_LARGE_FLOOR, 1e-9),
        Check(name, "one point, fixed large: total, bits/dim", float(large.total_bpd), total, 2e-8),
        Check(name, "estimate from 2 timesteps: largest error, bits/dim", error, 0.0, 1e-9),
    ]


def check_gaussian_bound(device: torch.device) -> list[Check]:
    """Check L_T, and the best denoiser's expected KLs on pixels from N(0.1, 0.25), 50 respaced steps, no clipping.

    E KL_t = (r - 1 - log r) / 2 + c_t^2 Var(x_0 | x_t) / (2 sigma_t^2) nats, r the posterior's variance over sigma^2,
    c_t the posterior mean's factor of x_0. A KL is quadratic in (x_0, eps). Its mean over four images, both variables
    one standard deviation to either side of their means, is therefore the exact expectation.
    """
    name = "bound"
    linear = linear_schedule().to(device)
    short = respace(linear, _SHORT)
    x = torch.tensor([-0.4, -0.4, 0.6, 0.6], dtype=torch.float64, device=device).reshape(4, 1, 1, 1)
    eps = torch.tensor([-1, 1, -1, 1], dtype=torch.float64, device=device).reshape(4, 1, 1, 1)
    bounds = bits_per_dim_by_variance(
        gaussian_denoiser(linear.alphas_cumprod, 0.1, _VARIANCE),
        short,
        x,
        noise=lambda _: eps,
        variances=_SMALL_AND_LARGE,
        clip_x_start=False,
    )
    rows = [
        Check(
            name,
            f"Gaussian data, {variance.value}: sum of KLs, bits/dim",
            float(bound.step_bpd.mean(0).sum()),
            _expected_steps(large=variance is Variance.FIXED_LARGE),
            1e-9,
        )
        for variance, bound in zip(_SMALL_AND_LARGE, bounds, strict=True)
    ]
    # The least possible L_simple: the mean over t of the conditional variance of eps.
    least = sum(now * _VARIANCE / (now * _VARIANCE + 1 - now) for now in _cumprods()) / _SHORT
    prior = [float(prior_bits_per_dim(linear, torch.full_like(x[:1], value))) for value in (0.0, 1.0)]
    return [
        *rows,
        Check(name, "Gaussian data: mean squared error of eps", float(bounds[0].eps_mse.mean()), least, 1e-9),
        Check(name, "L_T of x_0 = 0, bits/dim", prior[0], _NO_PRIOR, 1e-15),
        Check(name, "L_T of |x_0| = 1, bits/dim", prior[1], _EDGE_PRIOR, 1e-13),
    ]


def _cumprods() -> list[float]:
    """alpha-bar of the linear schedule with T = 1000 at 50 equally spaced timesteps, both ends among them."""
    products, running = [], 1.0
    for t in range(1000):
        running *= 1 - (1e-4 + t * (0.02 - 1e-4) / 999)
        products.append(running)
    return [products[round(k * 999 / (_SHORT - 1))] for k in range(_SHORT)]


def _expected_steps(*, large: bool) -> float:
    """The sum over t = 1..49 of E KL_t, in bits/dim."""
    nats = 0.0
    for before, now in pairwise(_cumprods()):
        beta = 1 - now / before
        posterior = beta * (1 - before) / (1 - now)
        chosen = beta if large else posterior
        conditional = _VARIANCE * (1 - now) / (now * _VARIANCE + 1 - now)
        factor = beta * math.sqrt(before) / (1 - now)
        ratio = posterior / chosen
        nats += (ratio - 1 - math.log(ratio) + factor**2 * conditional / chosen) / 2
    return nats / math.log(2)


def check_decoder(device: torch.device) -> list[Check]:
    """Check the decoder's 256 bins, 2/255 wide and open at both ends, against the error function, and the grey levels.

    L_0 of one known image is that of its grey level, by the exact Phi and by the tanh form.
    """
    name = "decoder"
    x = torch.full((1, 1, 2, 2), _GREY, device=device)
    # Both steps equal the first two of the linear schedule with T = 1000, so the decoder is the same.
    short = linear_schedule(2, 1e-4, 1e-4 + (0.02 - 1e-4) / 999).to(device)
    model = point_mass_denoiser(short.alphas_cumprod, x)
    exact, tanh = (
        float(bits_per_dim(model, short, x, noise=lambda _: torch.ones_like(x), cdf=form).decoder_bpd)
        for form in (NormalCdf.EXACT, NormalCdf.TANH)
    )
    levels = torch.arange(256, dtype=torch.uint8, device=device)
    grid = levels.double() / 127.5 - 1
    mean, std = 0.3, 0.05
    logs = discretized_gaussian_log_likelihood(grid, torch.full_like(grid, mean), torch.full_like(grid, math.log(std)))
    masses = torch.tensor([_mass(level, mean, std) for level in range(256)], dtype=torch.float64)
    likely = masses > 1e-9  # the others are near the floor of 1e-12
    error = largest(logs.cpu()[likely] - masses[likely].log())
    last = grid[-1:]
    edge = discretized_gaussian_log_likelihood(last, last, torch.full_like(last, math.log(_DECODER_STD)))
    half_open = -math.log2(0.5 * math.erfc(-math.sqrt(0.5) / 255 / _DECODER_STD))
    moved = int((to_uint8(to_model_range(levels.reshape(-1, 1, 1, 1))).flatten() != levels).sum())
    return [
        Check(name, "one point: L_0, exact Phi, bits/dim", exact, _DECODER_EXACT, 1e-8),
        Check(name, "one point: L_0, tanh form of Phi, bits/dim", tanh, _DECODER_TANH, 1e-8),
        Check(name, "log probabilities of likely levels: largest error, nats", error, 0.0, 1e-6),
        Check(name, "256 probabilities: sum", float(logs.exp().sum()), 1.0, 1e-9),
        Check(name, "the last level under its own mean, bits", -float(edge) / math.log(2), half_open, 1e-9),
        Check(name, "levels of 256 that change on the way to [-1, 1] and back", float(moved), 0.0, 0.0),
    ]


def _mass(level: int, mean: float, std: float) -> float:
    """Phi(b) - Phi(a) of the bin of a level, computed on the tail on which the difference does not cancel."""
    below = (level / 127.5 - 1 - 1 / 255 - mean) / std if level > 0 else -math.inf
    above = (level / 127.5 - 1 + 1 / 255 - mean) / std if level < 255 else math.inf
    if below > 0:
        below, above = -above, -below
    return 0.5 * (math.erfc(-above * math.sqrt(0.5)) - math.erfc(-below * math.sqrt(0.5)))


def check_frechet(device: torch.device) -> list[Check]:
    """Check the Fréchet distance of two planar Gaussians whose covariances do not commute, and sums added up by parts.

    The distance is |m_a - m_b|^2 + tr(A) + tr(B) - 2 sqrt(tr(A B) + 2 sqrt(det(A B))); the last term has the closed
    form of the trace of the root of a 2 x 2 matrix.
    """
    name = "frechet"
    a, b = ((2.0, 1.0), (1.0, 3.0)), ((5.0, -2.0), (-2.0, 4.0))
    # tr(A B) = 10 - 2 - 2 + 12 = 18, det A = 5, det B = 16; the means differ by (1, -2).
    expected = 5 + 5 + 9 - 2 * math.sqrt(18 + 2 * math.sqrt(80))
    first, second = (_stats_of(mean, rows, device) for mean, rows in (((0.5, 1.0), a), ((-0.5, 3.0), b)))
    points = normal(0, Stream.BOOTSTRAP, torch.arange(64, device=device), (3,)).cpu()
    parts = FeatureStats.empty(3).update(points[:17]).merge(FeatureStats.empty(3).update(points[17:]))
    covariance_error = largest(parts.covariance - torch.cov(points.double().T))
    return [
        Check(name, "two known Gaussians: distance", frechet_distance(first, second), expected, 1e-10),
        Check(name, "a Gaussian and itself: distance", frechet_distance(first, first), 0.0, 1e-10),
        Check(name, "covariance of 64 vectors in two parts: largest error", covariance_error, 0.0, 1e-12),
    ]


def _stats_of(
    mean: tuple[float, float], covariance: tuple[tuple[float, float], ...], device: torch.device, count: int = 11
) -> FeatureStats:
    """Return the sums over `count` vectors that have this mean and unbiased covariance."""
    centre = torch.tensor(mean, dtype=torch.float64, device=device)
    spread = torch.tensor(covariance, dtype=torch.float64, device=device)
    outer = (count - 1) * spread + count * torch.outer(centre, centre)
    return FeatureStats(count=count, total=count * centre, outer=outer)
