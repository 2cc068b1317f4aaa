"""Exponential moving average of the weights, with a length that grows with the run."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool
from torch import Tensor


def ema_decay(images_seen: int, images_per_step: int, *, halflife_images: float, rampup_ratio: float) -> float:
    """The factor beta in `ema = beta * ema + (1 - beta) * weights` for one step.

    beta = 0.5^(images_per_step / halflife). The half-life is the smaller of `halflife_images` and `rampup_ratio *
    images_seen` (Karras et al. 2022, appendix F.2), so that early averages forget the initial weights. beta depends on
    the images seen so far, never on how long the run is going to be.

    Args:
        images_seen: Images seen before the step; at 0 the average starts as a copy of the weights.
        images_per_step: The global batch size.
        halflife_images: The half-life that a long run reaches, above 0; 0.9999 per step at batch 128 means 887,000.
        rampup_ratio: The half-life as a share of the run so far, above 0.
    """
    halflife = min(halflife_images, rampup_ratio * images_seen)
    return 0.5 ** (images_per_step / halflife) if halflife > 0 else 0.0


@torch.no_grad()
def update_ema(ema: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """Move each average towards its weights, in place: ema = decay * ema + (1 - decay) * weights."""
    torch._foreach_lerp_(list(ema), [weight.detach() for weight in weights], 1 - decay)


@torch.no_grad()
def update_ema_if(applied: Bool[Tensor, ""], ema: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """Do the same if a step was applied, else leave the averages as they are.

    On a GPU the host does not wait to know which: a skipped step moves the averages by 0 times their distance. That
    rounds differently from `update_ema` in the last bit.

    Args:
        applied: Whether the step changed the weights.
        ema: The averages, changed in place.
        weights: The weights after the step, finite.
        decay: As for `update_ema`.
    """
    if applied.is_cpu:
        if applied:
            update_ema(ema, weights, decay)
        return
    _move_by(applied, list(ema), list(weights), decay)


@torch.no_grad()
def _move_by(applied: Tensor, ema: list[Tensor], weights: list[Tensor], decay: float) -> None:
    distances = torch._foreach_sub(weights, ema)
    torch._foreach_mul_(distances, applied.to(torch.float32))
    torch._foreach_add_(ema, distances, alpha=1 - decay)


def ema_sigma_rel(steps: int, images_per_step: int, *, halflife_images: float, rampup_ratio: float) -> float:
    """Return the length of the average that `ema_decay` makes, in the terms of `ddpm_core.power_ema`.

    It is the standard deviation of k / steps over the steps k = 1..steps, each by its weight in the average. With the
    half-life still growing the average is a power-function one, with gamma = ln 2 / rampup_ratio - 1.

    Args:
        steps: Steps averaged, at least 1.
        images_per_step: The global batch size.
        halflife_images: As for `ema_decay`.
        rampup_ratio: As for `ema_decay`.
    """
    seen = images_per_step * torch.arange(steps, dtype=torch.float64)
    log_decay = -math.log(2) * images_per_step / (rampup_ratio * seen).clamp(max=halflife_images)
    after = torch.zeros_like(seen)
    after[:-1] = log_decay[1:].flip(0).cumsum(0).flip(0)
    shares = -torch.expm1(log_decay) * after.exp()
    place = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    mean = (shares * place).sum()
    return float((shares * (place - mean) ** 2).sum().sqrt())
