"""Noise schedules: the forward process of Ho et al. 2020, eq. (2).

q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I).

Timesteps count from 0: t = 0 is one step of noise, the paper's t = 1. Tables are float64 and cast when they are
looked up: in float32, 1 - alphas_cumprod would be off by 1.7e-4 relative at T = 1000.
"""

import math
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class NoiseSchedule:
    """A forward process and the tables that follow from it.

    Attributes:
        betas: Variances of the added noise, in (0, 1].
        timesteps: The t that the network receives at each step; 0..T-1 unless the schedule is respaced.
        alphas: 1 - betas.
        alphas_cumprod: Products of alphas up to and including t.
        alphas_cumprod_prev: The same up to t - 1; 1 at t = 0.
        posterior_variance: Variance of q(x_{t-1} | x_t, x_0), eq. (7); 0 at t = 0.
        posterior_log_variance_clipped: Its logarithm, with the value of t = 1 in the place of log 0 at t = 0.
        posterior_mean_coef_x_start: Factor of x_0 in the posterior's mean, eq. (7).
        posterior_mean_coef_x_t: Factor of x_t in it.
        zero_terminal_snr: True if alpha-bar_T is 0: x_T is independent of x_0, and eps does not determine x_0.
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
    zero_terminal_snr: bool = field(init=False)

    def __post_init__(self) -> None:
        betas = self.betas
        _check_length(len(betas))
        if not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(
                f"betas must lie in (0, 1]; got values from {betas.min().item():g} to {betas.max().item():g}"
            )
        if bool((betas[:-1] == 1).any()):
            first = int((betas == 1).nonzero()[0])
            raise ValueError(f"a beta of 1 leaves nothing of x_0: only the last may be 1; got 1 at timestep {first}")
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
        object.__setattr__(self, "zero_terminal_snr", bool(cumprod[-1] == 0))

    @property
    def num_timesteps(self) -> int:
        """T, the length of the chain."""
        return len(self.betas)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """Return the same schedule with its tables on `device`.

        They are moved and not computed there, because another device's products and logarithms end in other bits.
        """
        moved = copy(self)
        for name, table in vars(self).items():
            if isinstance(table, Tensor):
                object.__setattr__(moved, name, table.to(device))
        return moved


def at(
    table: Float64[Tensor, " T"], t: Int64[Tensor, " b"], like: Float[Tensor, "b *rest"]
) -> Float[Tensor, "b *ones"]:
    """Look up `table[t]`, cast to the dtype of `like` and shaped to broadcast with it."""
    return table[t].to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _check_length(num_timesteps: int) -> None:
    if num_timesteps < 2:
        raise ValueError(f"a schedule needs at least 2 timesteps; got {num_timesteps}")


def _spaced(start: float, end: float, num_timesteps: int) -> Float64[Tensor, " T"]:
    _check_length(num_timesteps)
    return torch.linspace(start, end, num_timesteps, dtype=torch.float64)


def custom_schedule(betas: Float[Tensor, " T"]) -> NoiseSchedule:
    """Make a schedule from any table of betas, in float64."""
    return NoiseSchedule(betas=betas.double(), timesteps=torch.arange(len(betas)))


def alphas_cumprod_schedule(alphas_cumprod: Float[Tensor, " T"]) -> NoiseSchedule:
    """Make the schedule whose alphas_cumprod are these: beta_t = 1 - alpha-bar_t / alpha-bar_{t-1}.

    Args:
        alphas_cumprod: Strictly falling, in [0, 1); 0 at the last timestep alone.
    """
    cumprod = alphas_cumprod.double()
    return custom_schedule(1 - cumprod / torch.cat((cumprod.new_ones(1), cumprod[:-1])))


def linear_schedule(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
    """Betas equally spaced from `beta_start` to `beta_end`, Ho et al. section 4."""
    return custom_schedule(_spaced(beta_start, beta_end, num_timesteps))


def scaled_linear_schedule(
    num_timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02, reference: int = 1000
) -> NoiseSchedule:
    """Linear betas times `reference` / T, so that alpha-bar_T hardly depends on T (Nichol and Dhariwal's code).

    Libraries that call the square of equally spaced roots "scaled linear" mean `quadratic_schedule`.
    """
    _check_length(num_timesteps)
    scale = reference / num_timesteps
    return linear_schedule(num_timesteps, scale * beta_start, scale * beta_end)


def quadratic_schedule(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
    """Betas whose square roots are equally spaced: `quad` of Ho's code."""
    _check_ends(beta_start, beta_end)
    return custom_schedule(_spaced(beta_start**0.5, beta_end**0.5, num_timesteps) ** 2)


def cosine_schedule(num_timesteps: int = 1000, max_beta: float = 0.999) -> NoiseSchedule:
    """Nichol and Dhariwal 2021, eq. (17): alpha-bar follows cos^2((u + 0.008) / 1.008 * pi / 2), betas capped."""
    _check_length(num_timesteps)
    u = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    return _capped(torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2, max_beta)


def sigmoid_schedule(
    num_timesteps: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999
) -> NoiseSchedule:
    """Jabri et al. 2022: alpha-bar falls from 1 to 0 along a sigmoid of (start..end) / tau, betas capped."""
    if not (start < end and tau > 0):
        raise ValueError(f"start must lie below end and tau above 0; got start {start}, end {end}, tau {tau}")
    _check_length(num_timesteps)
    u = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    falling = torch.sigmoid(-(start + u * (end - start)) / tau)
    return _capped((falling - falling[-1]) / (falling[0] - falling[-1]), max_beta)


def constant_schedule(num_timesteps: int = 1000, beta: float = 0.02) -> NoiseSchedule:
    """One beta at every timestep: `const` of Ho's code."""
    return custom_schedule(_spaced(beta, beta, num_timesteps))


def jsd_schedule(num_timesteps: int = 1000) -> NoiseSchedule:
    """Betas 1/T, 1/(T-1), ..., 1 (Sohl-Dickstein et al. 2015): alpha-bar falls linearly to 0."""
    return custom_schedule(1 / _spaced(float(num_timesteps), 1.0, num_timesteps))


def warmup_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, fraction: float = 0.1
) -> NoiseSchedule:
    """Linear betas over the first `fraction` of the timesteps, then `beta_end`: `warmup10`, `warmup50` of Ho's code."""
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1]; got {fraction}")
    betas = _spaced(beta_end, beta_end, num_timesteps)
    warm = int(num_timesteps * fraction)
    betas[:warm] = torch.linspace(beta_start, beta_end, warm, dtype=torch.float64)
    return custom_schedule(betas)


def with_zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shift and scale sqrt(alpha-bar) so that the last is 0 and the first stays (Lin et al. 2023, algorithm 1)."""
    roots = schedule.alphas_cumprod.sqrt()
    rescaled = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return replace(alphas_cumprod_schedule(rescaled**2), timesteps=schedule.timesteps)


def _capped(alphas_cumprod: Float64[Tensor, " T_plus_1"], max_beta: float) -> NoiseSchedule:
    if not 0 < max_beta < 1:
        raise ValueError(f"max_beta must lie in (0, 1); got {max_beta}")
    return custom_schedule((1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=max_beta))


def _check_ends(beta_start: float, beta_end: float) -> None:
    if not (0 < beta_start <= 1 and 0 < beta_end <= 1):
        raise ValueError(f"beta_start and beta_end must lie in (0, 1]; got {beta_start} and {beta_end}")


def respace(schedule: NoiseSchedule, num_steps: int) -> NoiseSchedule:
    """Keep `num_steps` timesteps of `schedule`, equally spaced and including both ends.

    Betas are recomputed from the kept alphas_cumprod, so that the shorter chain has the same marginals
    q(x_t | x_0) at the kept timesteps; the network still receives the original t (Nichol and Dhariwal 2021, section 4).
    """
    if not 2 <= num_steps <= schedule.num_timesteps:
        raise ValueError(f"num_steps must lie in 2..{schedule.num_timesteps}; got {num_steps}")
    if num_steps == schedule.num_timesteps:
        return schedule
    span = torch.linspace(0, schedule.num_timesteps - 1, num_steps, dtype=torch.float64)
    return keep_timesteps(schedule, span.round().long().to(schedule.betas.device))


def keep_timesteps(schedule: NoiseSchedule, kept: Int64[Tensor, " n"]) -> NoiseSchedule:
    """Keep these places of `schedule`, rising; betas are recomputed as in `respace`."""
    cumprod = schedule.alphas_cumprod[kept]
    betas = 1 - cumprod / torch.cat((cumprod.new_ones(1), cumprod[:-1]))
    return NoiseSchedule(betas=betas, timesteps=schedule.timesteps[kept])
