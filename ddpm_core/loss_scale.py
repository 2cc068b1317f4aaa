"""The scale of the loss in float16, by which small gradients do not become 0 and large ones do not overflow.

Below 2^-24 float16 has no number but 0, above 65,504 none but infinity. So the loss is multiplied by a scale before the
backward pass, and the gradients of the weights, which are float32, are divided by it (Micikevicius et al. 2018, "Mixed
precision training", section 3.2). The scale is a power of two, whose products round nothing.

The rule is that of torch.amp.GradScaler: a step whose gradient is not finite is skipped and halves the scale, 2,000
applied steps in a row double it. Here it is a function of tensors alone, so that the host never asks the device whether
a step was skipped, and the scale is part of a checkpoint.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32, Int32
from torch import Tensor

INITIAL_SCALE = 65536.0
GROWTH, BACKOFF = 2.0, 0.5
GROWTH_STEPS = 2000


class LossScale(NamedTuple):
    """The scale, and the number of applied steps in a row since it changed or a step was skipped."""

    scale: Float32[Tensor, ""]
    steps: Int32[Tensor, ""]


def initial_scale(device: torch.device) -> LossScale:
    """Return the scale of a run's first step, 65,536."""
    return LossScale(torch.full((), INITIAL_SCALE, device=device), torch.zeros((), dtype=torch.int32, device=device))


def next_scale(current: LossScale, finite: Bool[Tensor, ""]) -> LossScale:
    """Return the scale of the next step; it waits for no device.

    Args:
        current: The scale of this step.
        finite: Whether this step's gradient was finite. The scale does not grow beyond float32.
    """
    scale, steps = current
    counted = torch.where(finite, steps + 1, 0)
    grows = counted >= GROWTH_STEPS
    grown = torch.where(torch.isfinite(scale * GROWTH), scale * GROWTH, scale)
    changed = torch.where(finite, torch.where(grows, grown, scale), scale * BACKOFF)
    return LossScale(changed, torch.where(grows, 0, counted).to(torch.int32))
