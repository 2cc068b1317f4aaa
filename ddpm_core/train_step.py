"""One optimiser step, with the same result for every number of workers up to the order of summation."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor, nn

from ddpm_core.diffusion import q_sample
from ddpm_core.images import flip_where, to_model_range
from ddpm_core.objective import Objective
from ddpm_core.schedule import NoiseSchedule
from ddpm_core.training_order import TrainingNoise


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """The settings of a run that one step needs.

    Attributes:
        global_batch_size: Images per step, over all workers.
        world_size: Number of workers.
        grad_clip: Bound on the global norm of the averaged gradient; infinity for no bound.
        autocast_dtype: dtype of the network's matrix products; float32 turns autocast off.
        random_flip: Mirror the images whose coin flip is 1.
        objective: The predicted quantity and the loss.
    """

    global_batch_size: int
    world_size: int = 1
    grad_clip: float = 1.0
    autocast_dtype: torch.dtype = torch.float32
    random_flip: bool = False
    objective: Objective = field(default_factory=Objective)


class StepResult(NamedTuple):
    """The outcome of a step: the losses are those of this worker's images only, the norm is over all workers."""

    losses: Float32[Tensor, " b"]
    loss_sum: Float32[Tensor, ""]
    grad_norm: Float32[Tensor, ""]
    applied: bool


def learning_rate(images_seen: int, *, peak: float, warmup_images: int, decay_images: int) -> float:
    """The learning rate of the step that starts at `images_seen`.

    Linear from 0 to `peak` over `warmup_images`, then falling as 1 / sqrt(images_seen / decay_images) once
    `decay_images` are seen (Karras et al. 2024, eq. (15)); 0 turns either off. It depends on the images seen so far,
    never on how long the run is going to be, so that a longer run continues a shorter one.
    """
    warmup = min(images_seen / warmup_images, 1.0) if warmup_images else 1.0
    decay = math.sqrt(max(images_seen / decay_images, 1.0)) if decay_images else 1.0
    return peak * warmup / decay


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: NoiseSchedule,
    images: UInt8[Tensor, "b c h w"],
    noise: TrainingNoise,
    config: StepConfig,
    labels: Int64[Tensor, " b"] | None = None,
) -> StepResult:
    """Take one step on this worker's share of the global batch; pass `labels` if the network has classes.

    The loss is world_size * sum over the share / global_batch_size. DistributedDataParallel averages the gradients over
    workers, which gives the gradient of the mean over the global batch, however it is shared out. The norm is clipped
    after that averaging (Ho's TPU code clipped each replica's before it). A step whose gradient is not finite is
    skipped: neither weights nor moments change.
    """
    x_start = to_model_range(flip_where(images, noise.flip) if config.random_flip else images)
    x_t = q_sample(schedule, x_start, noise.t, noise.eps)
    autocast = config.autocast_dtype != torch.float32
    with torch.autocast(x_t.device.type, dtype=config.autocast_dtype if autocast else None, enabled=autocast):
        t = schedule.timesteps[noise.t]
        output = model(x_t, t) if labels is None else model(x_t, t, labels)
    losses = config.objective(schedule, output, x_start, noise.eps, noise.t)
    loss_sum = losses.sum()
    optimizer.zero_grad(set_to_none=True)
    (loss_sum * (config.world_size / config.global_batch_size)).backward()
    grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    applied = bool(torch.isfinite(grad_norm))
    if applied:
        optimizer.step()
    return StepResult(losses=losses.detach(), loss_sum=loss_sum.detach(), grad_norm=grad_norm.detach(), applied=applied)
