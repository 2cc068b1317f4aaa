"""Noise schedules: the forward process of Ho et al. 2020, eq. (2).

q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I).

Timesteps count from 0: t = 0 is one step of noise, the paper's t = 1. Tables are float64 and cast when they are
looked up: in float32, 1 - alphas_cumprod would be off by 1.7e-4 relative at T = 1000.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseSchedule:
    """A forward process and the tables that follow from it.

    Attributes:
        betas: Variances of the added noise, in (0, 1].
        timesteps: The t that the network is told at each step; other than 0..T-1 for a respaced schedule only.
        alphas: 1 - betas.
        alphas_cumprod: Products of alphas up to and including t.
        alphas_cumprod_prev: The same up to t - 1; 1 at t = 0.
        posterior_variance: Variance of q(x_{t-1} | x_t, x_0), eq. (7); 0 at t = 0.
        posterior_log_variance_clipped: Its logarithm, with the value of t = 1 in the place of log 0 at t = 0.
        posterior_mean_coef_x_start: Factor of x_0 in the posterior's mean, eq. (7).
        posterior_mean_coef_x_t: Factor of x_t in it.
    """

    betas: Float64[Tensor, " T"]
    timesteps: Int64[Tensor, " T"]
    alphas: Float64[Tensor, " T"] = field(init=False)
    alphas_cumprod: Float64[Tensor, " T"] = field(init=False)
    alphas_cumprod_prev: Float64[Tensor, " T"] = field(init=False)
    posterior_variance: Float64[Tensor, " T"] = field(init=False)
    posterior_log_variance_clipped: Float64[Tensor, " T"] = field(init=False)
    posterior_mean_coef_x_start: Float64[Tensor, " T"] = field(init=False)
    posterior_mean_coef_x_t: Float64[Tensor, " T"] = field(init=False)

    def __post_init__(self) -> None:
        betas = self.betas
        if len(betas) < 2:
            raise ValueError(f"a schedule needs at least 2 timesteps; got {len(betas)}")
        if not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(
                f"betas must lie in (0, 1]; got values from {betas.min().item():g} to {betas.max().item():g}"
            )
        alphas = 1 - betas
        cumprod = alphas.cumprod(0)
        cumprod_prev = torch.cat((cumprod.new_ones(1), cumprod[:-1]))
        posterior_variance = betas * (1 - cumprod_prev) / (1 - cumprod)
        tables = {
            "alphas": alphas,
            "alphas_cumprod": cumprod,
            "alphas_cumprod_prev": cumprod_prev,
            "posterior_variance": posterior_variance,
            "posterior_log_variance_clipped": torch.cat((posterior_variance[1:2], posterior_variance[1:])).log(),
            "posterior_mean_coef_x_start": betas * cumprod_prev.sqrt() / (1 - cumprod),
            "posterior_mean_coef_x_t": (1 - cumprod_prev) * alphas.sqrt() / (1 - cumprod),
        }
        for name, table in tables.items():
            object.__setattr__(self, name, table)

    @property
    def num_timesteps(self) -> int:
        """T, the length of the chain."""
        return len(self.betas)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """Return the same schedule with its tables on `device`."""
        return replace(self, betas=self.betas.to(device), timesteps=self.timesteps.to(device))


def at(
    table: Float64[Tensor, " T"], t: Int64[Tensor, " b"], like: Float[Tensor, "b *rest"]
) -> Float[Tensor, "b *ones"]:
    """Look up `table[t]`, cast to the dtype of `like` and shaped to broadcast with it."""
    return table[t].to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def linear_schedule(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
    """Betas equally spaced from `beta_start` to `beta_end`, Ho et al. section 4."""
    betas = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)
    return NoiseSchedule(betas=betas, timesteps=torch.arange(num_timesteps))


def cosine_schedule(num_timesteps: int = 1000, max_beta: float = 0.999) -> NoiseSchedule:
    """Nichol and Dhariwal 2021, eq. (17): alpha-bar follows cos^2((u + 0.008) / 1.008 * pi / 2), betas capped."""
    u = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    alphas_cumprod = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=max_beta)
    return NoiseSchedule(betas=betas, timesteps=torch.arange(num_timesteps))


def respace(schedule: NoiseSchedule, num_steps: int) -> NoiseSchedule:
    """Keep `num_steps` timesteps of `schedule`, equally spaced and both ends among them.

    Betas are computed anew from the kept alphas_cumprod, so that the shorter chain has the same marginals
    q(x_t | x_0) at the kept timesteps; the network is still told the original t (Nichol and Dhariwal 2021, section 4).
    """
    if not 2 <= num_steps <= schedule.num_timesteps:
        raise ValueError(f"num_steps must lie in 2..{schedule.num_timesteps}; got {num_steps}")
    if num_steps == schedule.num_timesteps:
        return schedule
    span = torch.linspace(0, schedule.num_timesteps - 1, num_steps, dtype=torch.float64)
    kept = span.round().long().to(schedule.betas.device)
    cumprod = schedule.alphas_cumprod[kept]
    betas = 1 - cumprod / torch.cat((cumprod.new_ones(1), cumprod[:-1]))
    return NoiseSchedule(betas=betas, timesteps=schedule.timesteps[kept])
