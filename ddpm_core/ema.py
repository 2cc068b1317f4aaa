"""Exponential moving average of the weights, with a length that grows with the run."""

from collections.abc import Iterable

import torch
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
