"""Denoisers in closed form: the best eps_theta for data whose distribution is known.

Like a network, each receives original timesteps, so it indexes the table of the schedule before respacing.
"""

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ddpm_core.prediction import Model
from ddpm_core.schedule import at


def gaussian_denoiser(alphas_cumprod: Float64[Tensor, " T"], mean: float, variance: float) -> Model:
    """Return E[eps | x_t] for independent pixels from N(mean, variance).

    Conditioning one normal on another gives
    sqrt(1 - alpha-bar) (x_t - sqrt(alpha-bar) mean) / (alpha-bar variance + 1 - alpha-bar).

    Args:
        alphas_cumprod: alpha-bar of the chain before respacing.
        mean: The mean of every pixel.
        variance: The variance of every pixel, 0 or above.
    """
    factor = (1 - alphas_cumprod).sqrt() / (alphas_cumprod * variance + 1 - alphas_cumprod)

    def denoise(x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        return at(factor, t, like=x_t) * (x_t - at(alphas_cumprod.sqrt(), t, like=x_t) * mean)

    return denoise


def point_mass_denoiser(alphas_cumprod: Float64[Tensor, " T"], x_start: Float[Tensor, "#b c h w"]) -> Model:
    """Return the eps that leads to x_t from `x_start`, the only image of the data.

    (x_t - sqrt(alpha-bar) x_0) / sqrt(1 - alpha-bar).

    Args:
        alphas_cumprod: alpha-bar of the chain before respacing.
        x_start: The image, or one per image of the batch.
    """

    def denoise(x_t: Float[Tensor, "b c h w"], t: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        offset = x_t - at(alphas_cumprod.sqrt(), t, like=x_t) * x_start
        return at((1 - alphas_cumprod).rsqrt(), t, like=x_t) * offset

    return denoise
