"""Denoisers in closed form: the best eps_theta for data whose distribution is known.

Each is told original timesteps, as a network is, so it indexes the tables of the schedule that was not respaced.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_core.denoisers import gaussian_denoiser
from ddpm_core.denoisers import point_mass_denoiser as point_mass

__all__ = ["Denoiser", "fixed_large_floor", "gaussian", "gaussian_mixture", "optimal_eps_mse", "point_mass"]

Denoiser = Callable[[Tensor, Tensor], Tensor]


def gaussian(alphas_cumprod: Tensor, mean: float, variance: float) -> Denoiser:
    """E[eps | x_t] for independent pixels from N(mean, variance); whole numbers are welcome."""
    return gaussian_denoiser(alphas_cumprod, float(mean), float(variance))


def optimal_eps_mse(alphas_cumprod: Tensor, variance: float) -> Tensor:
    """E[(eps - E[eps | x_t])^2] for pixels of this variance: the conditional variance of eps, for every t."""
    return alphas_cumprod * variance / (alphas_cumprod * variance + 1 - alphas_cumprod)


def fixed_large_floor(betas: Tensor) -> Tensor:
    """KL(N(m, posterior variance) || N(m, beta)) for t >= 1: what fixed large pays though the mean is perfect, in nats.

    The ratio of the two variances is (1 - alpha-bar_{t-1}) / (1 - alpha-bar_t), whose alpha-bar are taken anew here.
    """
    cumprod = torch.exp(torch.cumsum(torch.log1p(-betas), 0))
    ratio = (1 - cumprod[:-1]) / (1 - cumprod[1:])
    return 0.5 * (ratio - 1 - ratio.log())


def gaussian_mixture(alphas_cumprod: Tensor, means: tuple[float, ...], variance: float) -> Denoiser:
    """E[eps | x_t] for independent pixels from an even mixture of normals of one variance: the score of q(x_t)."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        cumprod = alphas_cumprod[t].to(x_t.dtype).reshape(-1, 1, 1, 1)
        spread = cumprod * variance + 1 - cumprod
        offsets = torch.stack([x_t - cumprod.sqrt() * mean for mean in means])
        shares = torch.softmax(-(offsets**2) / (2 * spread), dim=0)
        return (1 - cumprod).sqrt() * (shares * offsets).sum(dim=0) / spread

    return denoise
