"""The bound estimated from some of its timesteps against its full sum."""

import math

import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.likelihood.bound import bits_per_dim
from ddpm_core.likelihood.estimate import estimate_bits_per_dim, step_terms
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.schedule import linear_schedule
from tests.oracles.denoisers import gaussian


def wrong_model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A denoiser for other data than it gets, so that terms differ from image to image."""
    return gaussian(LONG.alphas_cumprod, 0.0, 1.0)(x_t, t)


LARGE = (Variance.FIXED_LARGE,)
LONG = linear_schedule(240, 4e-4, 0.08)


def grey_images(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.rand(count, 1, 1, 1, generator=generator)
    grey = 128 + contrast * torch.randn(count, 1, 4, 4, generator=generator) * 60
    return grey.round().clamp(0, 255).double() / 127.5 - 1


def draws_of(seed: int, like: torch.Tensor):
    generator = torch.Generator().manual_seed(seed)
    return lambda _: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def fitted() -> TimestepProposal:
    others = grey_images(1, 64)
    bound = bits_per_dim(wrong_model, LONG, others, noise=draws_of(2, others))
    return TimestepProposal.of_second_moments((bound.step_bpd**2).mean(0), uniform_share=0.05)


def test_the_estimate_is_unbiased():
    """Its mean over many draws of timesteps and noise is that of the full sum over many draws of noise."""
    x = grey_images(3, 1)
    many = x.expand(4000, -1, -1, -1)
    uniforms = torch.rand(4000, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (estimate,) = estimate_bits_per_dim(
        wrong_model, LONG, many, noise=draws_of(5, many), uniforms=uniforms, proposal=fitted(), variances=LARGE
    )
    found = estimate.steps_bpd
    full = bits_per_dim(wrong_model, LONG, many[:500], noise=draws_of(6, many[:500])).step_bpd.sum(1)
    error = math.sqrt(float(found.var()) / 4000 + float(full.var()) / 500)
    assert abs(float(found.mean() - full.mean())) < 4 * error
    assert error < 0.01 * float(full.mean()), "too noisy to show anything"


def test_a_sixth_of_the_calls_reaches_the_full_sums_standard_error():
    x = grey_images(7, 200)
    calls = 0

    def counted(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return wrong_model(x_t, t)

    full = bits_per_dim(wrong_model, LONG, x, noise=draws_of(8, x)).total_bpd
    uniforms = torch.rand(200, 39, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (estimate,) = estimate_bits_per_dim(
        counted, LONG, x, noise=draws_of(10, x), uniforms=uniforms, proposal=fitted(), variances=LARGE
    )
    found = estimate.total_bpd
    assert calls * 6 == LONG.num_timesteps
    assert float(found.std()) < 1.02 * float(full.std())
    paired = found - full
    assert abs(float(paired.mean())) < 4 * float(paired.std()) / math.sqrt(200)


def test_every_timestep_drawn_once_is_the_full_sum():
    """A uniform proposal with n = T - 1 strata takes each timestep exactly once."""
    x = grey_images(11, 2)
    draws = torch.randn(240, *x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    proposal = TimestepProposal(torch.full((239,), 1 / 239, dtype=torch.float64))
    uniforms = torch.full((2, 239), 0.5, dtype=torch.float64)
    results = estimate_bits_per_dim(
        wrong_model,
        LONG,
        x,
        noise=lambda k: draws[k],
        uniforms=uniforms,
        proposal=proposal,
        variances=FIXED_VARIANCES,
    )
    for variance, found in zip(FIXED_VARIANCES, results, strict=True):
        full = bits_per_dim(wrong_model, LONG, x, noise=lambda t: draws[t], variance=variance)
        torch.testing.assert_close(found.total_bpd, full.total_bpd)
        torch.testing.assert_close(found.decoder_bpd, full.decoder_bpd)


def test_a_proposal_over_other_timesteps_is_refused():
    x = grey_images(0, 1)
    proposal = TimestepProposal(torch.tensor([0.5, 0.5], dtype=torch.float64))
    with pytest.raises(ValueError, match="over the 239 timesteps from 1; got 2"):
        estimate_bits_per_dim(
            wrong_model,
            LONG,
            x,
            noise=draws_of(0, x),
            uniforms=torch.rand(1, 2).double(),
            proposal=proposal,
            variances=LARGE,
        )


def test_some_terms_are_those_of_the_whole_bound():
    x = grey_images(12, 3)
    draws = torch.randn(240, *x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    timesteps = torch.tensor([1, 2, 77, 239])
    found = step_terms(wrong_model, LONG, x, timesteps, noise=lambda t: draws[t])
    full = bits_per_dim(wrong_model, LONG, x, noise=lambda t: draws[t]).step_bpd
    torch.testing.assert_close(found, full[:, timesteps - 1])
