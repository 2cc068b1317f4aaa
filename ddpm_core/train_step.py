"""One optimiser step, with the same result for every number of workers up to the order of summation."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor, nn

from ddpm_core.diffusion import q_sample
from ddpm_core.images import flip_where, to_model_range
from ddpm_core.loss_scale import LossScale, next_scale
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
        microbatch: The most images in one forward and backward pass; 0 for this worker's whole share.
    """

    global_batch_size: int
    world_size: int = 1
    grad_clip: float = 1.0
    autocast_dtype: torch.dtype = torch.float32
    random_flip: bool = False
    objective: Objective = field(default_factory=Objective)
    microbatch: int = 0


class StepResult(NamedTuple):
    """The outcome of a step, on its device: reading a value of it waits for the device.

    Attributes:
        losses: Of this worker's images only.
        loss_sum: Their sum.
        grad_norm: The norm over all workers, before it was clipped.
        applied: Whether the gradient was finite, so that weights and moments changed.
        loss_scale: The loss's scale in the next step; None if this step had none.
    """

    losses: Float32[Tensor, " b"]
    loss_sum: Float32[Tensor, ""]
    grad_norm: Float32[Tensor, ""]
    applied: Bool[Tensor, ""]
    loss_scale: LossScale | None = None


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
    *,
    loss_scale: LossScale | None = None,
    before_pass: Callable[[int], object] | None = None,
) -> StepResult:
    """Take one step on this worker's share of the global batch; pass `labels` if the network has classes.

    The loss is world_size * sum over the share / global_batch_size. DistributedDataParallel averages the gradients over
    workers, which gives the gradient of the mean over the global batch, however it is shared out. The norm is clipped
    after that averaging (Ho's TPU code clipped each replica's before it). A step whose gradient is not finite is
    skipped: neither weights nor moments change.

    Micro-batches add up to the same gradient but for the order of the sums: each has the weight of its images, also a
    smaller last one. Workers exchange gradients once, in the last pass.

    Args:
        model: The network, or its wrapper for a group.
        optimizer: Of the network's weights. A fused one skips a step without asking the device.
        schedule: The noise schedule, on the device of the images.
        images: This worker's share.
        noise: Timesteps, noise and coin flips of the same images.
        config: The settings.
        labels: Classes of the same images.
        loss_scale: The loss's scale, for float16; None for none.
        before_pass: Called with the number of each forward pass, from 0, before it begins, to seed dropout.
    """
    optimizer.zero_grad(set_to_none=True)
    losses = []
    passes = _passes(len(images), config.microbatch)
    for number, rows in enumerate(passes):
        with _exchange(model, is_last=number == len(passes) - 1):
            if before_pass is not None:
                before_pass(number)
            part = TrainingNoise(*(values[rows] for values in noise))
            own = _losses(model, schedule, images[rows], part, config, None if labels is None else labels[rows])
            loss = own.sum() * (config.world_size / config.global_batch_size)
            (loss if loss_scale is None else loss * loss_scale.scale).backward()
        losses.append(own.detach())
    if loss_scale is not None:
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        torch._foreach_mul_(gradients, 1 / loss_scale.scale)
    grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    finite = torch.isfinite(grad_norm)
    _step_if(finite, optimizer)
    together = torch.cat(losses) if len(losses) > 1 else losses[0]
    return StepResult(
        losses=together,
        loss_sum=together.sum(),
        grad_norm=grad_norm.detach(),
        applied=finite,
        loss_scale=None if loss_scale is None else next_scale(loss_scale, finite),
    )


def _passes(count: int, microbatch: int) -> list[slice]:
    """Return the images of each pass: consecutive ones, as many as a micro-batch holds, the rest in the last."""
    size = microbatch or count
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def _exchange(model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Keep a group from exchanging gradients in all passes but the last, which sends the sums."""
    if is_last or not isinstance(model, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def _losses(
    model: nn.Module,
    schedule: NoiseSchedule,
    images: UInt8[Tensor, "b c h w"],
    noise: TrainingNoise,
    config: StepConfig,
    labels: Int64[Tensor, " b"] | None,
) -> Float[Tensor, " b"]:
    """Return the loss of each image."""
    x_start = to_model_range(flip_where(images, noise.flip) if config.random_flip else images)
    x_t = q_sample(schedule, x_start, noise.t, noise.eps)
    autocast = config.autocast_dtype != torch.float32
    with torch.autocast(x_t.device.type, dtype=config.autocast_dtype if autocast else None, enabled=autocast):
        t = schedule.timesteps[noise.t]
        output = model(x_t, t) if labels is None else model(x_t, t, labels)
    return config.objective(schedule, output, x_start, noise.eps, noise.t)


def _step_if(finite: Bool[Tensor, ""], optimizer: torch.optim.Optimizer) -> None:
    """Let the optimiser change weights and moments if the gradient is finite; on a GPU it decides by itself."""
    if not finite.is_cpu and optimizer.defaults.get("fused"):
        _step_on_device(finite, optimizer)
    elif bool(finite):
        optimizer.step()


def _step_on_device(finite: Bool[Tensor, ""], optimizer: torch.optim.Optimizer) -> None:
    """Take a fused optimiser's step, whose kernel reads on the device whether to skip it."""
    # The names by which torch.amp.GradScaler tells fused kernels.
    fused: Any = optimizer
    fused.grad_scale, fused.found_inf = None, finite.logical_not().to(torch.float32)
    optimizer.step()
    fused.found_inf = None
