"""The best eps by linear regression and by eq. (4); what samplers and the bound make of it is in their own tests."""

import pytest
import torch

from ddpm_core.denoisers import gaussian_denoiser, point_mass_denoiser
from ddpm_core.diffusion import q_sample
from ddpm_core.schedule import linear_schedule

SCHEDULE = linear_schedule(100, 1e-3, 0.1)


@pytest.mark.parametrize("t", [0, 30, 99])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.1, 0.25), (-2.0, 9.0)])
def test_gaussian_data_have_the_regression_of_eps_on_x_t(t, mean, variance):
    """Four points, one standard deviation to either side of x_0 and eps, have the moments of the two."""
    std = variance**0.5
    x_start = torch.tensor([mean - std, mean - std, mean + std, mean + std], dtype=torch.float64).reshape(4, 1, 1, 1)
    eps = torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64).reshape(4, 1, 1, 1)
    steps = torch.full((4,), t)
    x_t = q_sample(SCHEDULE, x_start, steps, eps)
    design = torch.stack((torch.ones(4, dtype=torch.float64), x_t.flatten()), dim=1)
    fitted = design @ torch.linalg.lstsq(design, eps.reshape(4, 1)).solution
    found = gaussian_denoiser(SCHEDULE.alphas_cumprod, mean, variance)(x_t, steps)
    torch.testing.assert_close(found.flatten(), fitted.flatten(), rtol=0, atol=1e-10)


def test_no_variance_is_a_point():
    x_t = torch.linspace(-2, 2, 8, dtype=torch.float64).reshape(2, 1, 2, 2)
    t = torch.tensor([3, 80])
    point = torch.full((1, 1, 2, 2), 0.3, dtype=torch.float64)
    found = gaussian_denoiser(SCHEDULE.alphas_cumprod, 0.3, 0.0)(x_t, t)
    torch.testing.assert_close(found, point_mass_denoiser(SCHEDULE.alphas_cumprod, point)(x_t, t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("images", [1, 5])
def test_a_point_gives_back_the_noise(dtype, images):
    x_start = torch.linspace(-1, 1, images * 4, dtype=dtype).reshape(images, 1, 2, 2)
    eps = torch.linspace(3, -3, 20, dtype=dtype).reshape(5, 1, 2, 2)
    t = torch.tensor([0, 1, 50, 98, 99])
    x_t = q_sample(SCHEDULE, x_start.expand(5, 1, 2, 2), t, eps)
    found = point_mass_denoiser(SCHEDULE.alphas_cumprod, x_start)(x_t, t)
    assert found.dtype == dtype
    torch.testing.assert_close(found, eps, rtol=1e-5, atol=1e-5)


def test_a_respaced_chain_tells_the_original_timesteps():
    """Each image is read at the alpha-bar of its own t, whatever its place in the batch."""
    model = gaussian_denoiser(SCHEDULE.alphas_cumprod, 0.1, 0.25)
    x_t = torch.ones(2, 1, 1, 1, dtype=torch.float64)
    both = model(x_t, torch.tensor([10, 90]))
    for place, t in enumerate((10, 90)):
        torch.testing.assert_close(both[place : place + 1], model(x_t[:1], torch.tensor([t])))
