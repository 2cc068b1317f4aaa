"""The process, its reverse and the bound on a GPU give the CPU's numbers, the network replaced by formulas."""

import pytest
import torch

from ddpm_core.choices import FIXED_VARIANCES, Sampler
from ddpm_core.denoisers import gaussian_denoiser
from ddpm_core.diffusion import q_posterior, q_sample
from ddpm_core.images import to_model_range
from ddpm_core.likelihood.bound import bits_per_dim_by_variance
from ddpm_core.likelihood.estimate import estimate_bits_per_dim
from ddpm_core.likelihood.flow import flow_bits_per_dim
from ddpm_core.likelihood.proposal import TimestepProposal
from ddpm_core.rng import Stream, normal, uniform
from ddpm_core.samplers.chain import Chain
from ddpm_core.samplers.table import SAMPLERS
from ddpm_core.schedule import linear_schedule, respace
from tests.gpu.networks import SHAPE, images

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
SCHEDULE = linear_schedule(1000)
IDS = torch.arange(8)


def drawn(stream, step, device):
    """One draw for both devices, made on the CPU."""
    return normal(0, stream, IDS, SHAPE, step=step).to(device)


def denoiser(schedule):
    return gaussian_denoiser(schedule.alphas_cumprod, mean=0.1, variance=0.25)


@pytest.mark.parametrize("table", ["alphas_cumprod", "posterior_variance", "posterior_mean_coef_x_start"])
def test_tables_are_float64_and_the_cpus_but_for_rounding(device, table):
    moved = getattr(SCHEDULE.to(device), table)
    assert moved.dtype == torch.float64
    torch.testing.assert_close(moved.cpu(), getattr(SCHEDULE, table), rtol=1e-12, atol=0)


def test_the_forward_process_and_its_posterior(device):
    t = torch.tensor([0, 1, 2, 10, 100, 500, 998, 999])
    x_start = to_model_range(images(0, 8))
    here = q_sample(SCHEDULE, x_start, t, drawn(Stream.NLL, 0, CPU))
    moved, t_there, x_there = SCHEDULE.to(device), t.to(device), x_start.to(device)
    there = q_sample(moved, x_there, t_there, drawn(Stream.NLL, 0, device))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-6, atol=1e-6)
    expected, computed = q_posterior(SCHEDULE, x_start, here, t), q_posterior(moved, x_there, here.to(device), t_there)
    for one, other in zip(computed, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("clip", [True, False], ids=["clipped", "free"])
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_each_sampler_comes_to_the_cpus_images(device, sampler, clip):
    """Within 1e-4 on [-1, 1], an eightieth of a grey level: 50 steps in float32, each rounded by 6e-8 of its terms."""

    def sample(where):
        schedule = SCHEDULE.to(where)
        chain = Chain(
            model=denoiser(schedule),
            schedule=respace(schedule, 50),
            noise=lambda t: drawn(Stream.Z_T, t, where),
            clip_x_start=clip,
            eta=0.5 if sampler is Sampler.DDIM else 0.0,
        )
        return SAMPLERS[sampler](chain, drawn(Stream.X_T, 0, where)).cpu()

    expected = sample(CPU)
    assert expected.std() > 0.1, "images, not a constant"
    torch.testing.assert_close(sample(device), expected, rtol=0, atol=1e-4)


def test_the_bound_of_each_image_under_each_variance(device):
    def bound(where):
        schedule = respace(SCHEDULE, 100).to(where)
        return bits_per_dim_by_variance(
            denoiser(SCHEDULE.to(where)),
            schedule,
            to_model_range(images(0, 8)).to(where),
            noise=lambda t: drawn(Stream.NLL, t, where),
            variances=FIXED_VARIANCES,
        )

    for computed, expected in zip(bound(device), bound(CPU), strict=True):
        for name in expected._fields:
            one, other = getattr(computed, name), getattr(expected, name)
            assert one.dtype == torch.float64
            torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-7, msg=lambda text, n=name: f"{n}: {text}")


def test_the_estimate_of_the_bound(device):
    def estimate(where):
        schedule = respace(SCHEDULE, 100).to(where)
        moments = torch.linspace(1, 0.1, schedule.num_timesteps - 1, dtype=torch.float64, device=where)
        return estimate_bits_per_dim(
            denoiser(SCHEDULE.to(where)),
            schedule,
            to_model_range(images(0, 8)).to(where),
            noise=lambda k: drawn(Stream.NLL, k, where),
            uniforms=uniform(0, Stream.NLL_T, IDS.to(where), (10,)).double(),
            proposal=TimestepProposal.of_second_moments(moments),
            variances=FIXED_VARIANCES,
        )

    for computed, expected in zip(estimate(device), estimate(CPU), strict=True):
        for one, other in zip(computed, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-7)


def test_the_likelihood_under_the_flow(device):
    def bits(where):
        return flow_bits_per_dim(
            denoiser(SCHEDULE.to(where)),
            respace(SCHEDULE, 20).to(where),
            to_model_range(images(0, 8)).to(where),
            probe=lambda t: drawn(Stream.NLL, t, where),
        )

    torch.testing.assert_close(bits(device).cpu(), bits(CPU), rtol=1e-5, atol=1e-6)
