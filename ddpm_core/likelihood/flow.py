"""The likelihood under the probability-flow ODE, which unlike the bound is exact up to the solver's error.

With y = x / sqrt(alpha-bar) and sigma = sqrt((1 - alpha-bar) / alpha-bar) the flow is dy / dsigma = eps(x, t), and
along it log p changes by -div eps dsigma (Song et al. 2021, eq. (39), in these coordinates). Heun's method solves the
first. The second is summed by the trapezoidal rule in log sigma, since sigma div eps tends to a constant at both ends:
in sigma itself, the last step of the cosine schedule alone costs 18 bits/dim, because sigma grows 33 times over it.

The nodes are the schedule's timesteps, so nothing is interpolated between them. The lower end is sigma_0, the noise
level of t = 0: the result is the density of images with that much noise added, evaluated at the clean image.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ddpm_core.choices import Parameterisation
from ddpm_core.diffusion import timestep_batch
from ddpm_core.prediction import Model, convert
from ddpm_core.schedule import NoiseSchedule, at, keep_timesteps

# Added per dimension, it turns -log2 of a density on the scale x/127.5 - 1 into that of one on grey levels.
_BITS_OF_A_LEVEL = math.log2(127.5)
_FEWEST_NODES = 2


def flow_nodes(schedule: NoiseSchedule, count: int) -> NoiseSchedule:
    """Keep at most `count` timesteps of `schedule`, those nearest to equal steps of log sigma, both ends among them.

    At equal cost the likelihood is far nearer to that of all nodes than with timesteps equally spaced in t.

    Raises:
        ValueError: If `count` is below 2, or alpha-bar_T is 0.
    """
    if count < _FEWEST_NODES:
        raise ValueError(f"the flow needs at least {_FEWEST_NODES} nodes; got {count}")
    if count >= schedule.num_timesteps:
        return schedule
    levels = _sigma(schedule).log()
    wanted = torch.linspace(float(levels[0]), float(levels[-1]), count, dtype=levels.dtype, device=levels.device)
    return keep_timesteps(schedule, (levels - wanted[:, None]).abs().argmin(dim=1).unique())


def flow_bits_per_dim(
    model: Model,
    schedule: NoiseSchedule,
    x_start: Float[Tensor, "b c h w"],
    *,
    parameterisation: Parameterisation = Parameterisation.EPS,
    probe: Callable[[int], Float[Tensor, "b c h w"]] | None = None,
) -> Float64[Tensor, " b"]:
    """-log2 of the flow's density at each image, in bits/dim on the scale of grey levels.

    T nodes cost 2 (T - 1) network calls, each with gradients. For discrete images, first add uniform noise one level
    wide (`dequantised`); the mean is then an upper bound.

    Args:
        model: The network, differentiable, in float32 or better.
        schedule: The nodes; respaced or not.
        x_start: Images on the scale of [-1, 1].
        parameterisation: The quantity that the network predicts.
        probe: Returns a draw v of mean 0 and covariance I for each node t = 0..T-1, for Hutchinson's unbiased estimate
            v . J v of the divergence. None computes the exact divergence, at c h w gradients per node.

    Raises:
        ValueError: If alpha-bar_T is 0, because sigma is infinite there.
    """
    sigma = _sigma(schedule)

    def slope(y: Float[Tensor, "b c h w"], t: int) -> tuple[Float[Tensor, "b c h w"], Float64[Tensor, " b"]]:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            steps = timestep_batch(t, y)
            x_t = y * at(schedule.alphas_cumprod.sqrt(), steps, like=y)
            prediction = model(x_t, schedule.timesteps[steps])
            eps = convert(schedule, x_t, steps, prediction, source=parameterisation, to=Parameterisation.EPS)
            return eps.detach(), _divergence(eps, y, None if probe is None else probe(t))

    # All at once, because a GPU makes the host wait for each read.
    levels = sigma.tolist()
    y, log_p = x_start, torch.zeros(len(x_start), dtype=torch.float64, device=x_start.device)
    for t in range(schedule.num_timesteps - 1):
        low, high = levels[t], levels[t + 1]
        eps, divergence = slope(y, t)
        eps_ahead, divergence_ahead = slope(y + (high - low) * eps, t + 1)
        y = y + (high - low) * (eps + eps_ahead) / 2
        log_p += math.log(high / low) * (low * divergence + high * divergence_ahead) / 2
    cumprod = schedule.alphas_cumprod[-1]
    end = y.double() * cumprod.sqrt()
    log_p += (-0.5 * (end**2 + math.log(2 * math.pi)) + 0.5 * cumprod.log()).sum(dim=(1, 2, 3))
    return _BITS_OF_A_LEVEL - log_p / (math.log(2) * x_start[0].numel())


def dequantised(x_start: Float[Tensor, "b c h w"], uniforms: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Spread every grey level of images on the grid x/127.5 - 1 over its own bin, x - 1/2 to x + 1/2.

    -log of the mean density over a bin is at most the mean of -log density (Jensen), so the mean of
    `flow_bits_per_dim` bounds the negative log-likelihood of the levels (Theis et al. 2016, section 3.1).

    Args:
        x_start: The images.
        uniforms: Uniform numbers in (0, 1), one per pixel and channel.
    """
    return x_start + (uniforms - 0.5) / 127.5


def _sigma(schedule: NoiseSchedule) -> Float64[Tensor, " T"]:
    if schedule.zero_terminal_snr:
        raise ValueError("the flow ends at infinite sigma if alpha-bar_T is 0; use a schedule that ends above 0")
    return (1 / schedule.alphas_cumprod - 1).sqrt()


def _divergence(
    eps: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"], probe: Float[Tensor, "b c h w"] | None
) -> Float64[Tensor, " b"]:
    if probe is not None:
        (product,) = torch.autograd.grad((eps * probe).sum(), y)
        return (product * probe).double().sum(dim=(1, 2, 3))
    outputs = eps.flatten(1)
    total = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for place in range(outputs.shape[1]):
        (row,) = torch.autograd.grad(outputs[:, place].sum(), y, retain_graph=True)
        total += row.flatten(1)[:, place].double()
    return total
