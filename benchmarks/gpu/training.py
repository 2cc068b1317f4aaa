"""The product's training loop without its files: the same order of work in each step.

`flows/stages/train/worker.py` is the original; it needs packages that a bare machine has not.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.setting import Precision, Setting
from ddpm_core.ema import ema_decay, update_ema_if
from ddpm_core.loss_scale import initial_scale
from ddpm_core.network.unet import UNet
from ddpm_core.rng import Stream, words
from ddpm_core.schedule import linear_schedule
from ddpm_core.train_step import StepConfig, StepResult, learning_rate, train_step
from ddpm_core.training_order import TrainingNoise, TrainingOrder, training_noise
from infra.compute.transfer import to_device

_SEED = 0


class Training:
    """One worker's state; `step` is one step of the run.

    Args:
        setting: Device and sizes.
        batch: Images per step.
        precision: Its dtype of autocast; the flags are the caller's to set.
        capturable: Keep the optimiser's step count where a CUDA graph can raise it.
        images: The data set, uint8, wherever it is; None to draw one. It moves to the device, as the product's does.
    """

    def __init__(
        self,
        setting: Setting,
        batch: int,
        precision: Precision,
        *,
        capturable: bool = False,
        images: Tensor | None = None,
    ) -> None:
        self.setting, self.batch = setting, batch
        self.network: UNet = setting.network()
        self.ema = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=2e-4, fused=True, capturable=capturable)
        self.schedule = linear_schedule().to(setting.device)
        self.config = StepConfig(global_batch_size=batch, autocast_dtype=precision.autocast, random_flip=True)
        drawn = drawn_images(setting, setting.dataset_size) if images is None else images
        self.images = drawn.to(setting.device)
        self.order = TrainingOrder(_SEED, len(self.images))
        self.seen = 0
        self.loss_scale = initial_scale(setting.device) if precision.autocast == torch.float16 else None
        self.model: nn.Module = self.network
        self.model.train()

    def step(self) -> StepResult:
        """One step: seed of dropout, images, noise, rate, gradients, Adam, EMA."""
        torch.manual_seed(_dropout_seed(self.seen))
        images, slots = self.data()
        noise = self.noise(slots)
        rate = learning_rate(self.seen, peak=2e-4, warmup_images=640_000, decay_images=0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        result = train_step(
            self.model, self.optimizer, self.schedule, images, noise, self.config, loss_scale=self.loss_scale
        )
        self.loss_scale = result.loss_scale
        self.average(result.applied)
        self.seen += self.batch
        return result

    def data(self) -> tuple[Tensor, Tensor]:
        """The step's images and slots, on the device."""
        slots = torch.arange(self.seen, self.seen + self.batch)
        device = self.setting.device
        return self.images[to_device(self.order(slots), device)], to_device(slots, device)

    def noise(self, slots: Tensor) -> TrainingNoise:
        """The step's timesteps, noise and coins."""
        return training_noise(_SEED, slots, self.schedule.num_timesteps, self.setting.shape)

    def average(self, applied: Tensor) -> None:
        """Move the EMA by one step, if it was applied; the GPU decides."""
        decay = ema_decay(self.seen, self.batch, halflife_images=887_000.0, rampup_ratio=0.05)
        update_ema_if(applied, self.ema.parameters(), self.network.parameters(), decay)

    def state(self) -> dict[str, Any]:
        """A copy of all that a checkpoint holds."""
        parts = (self.network.state_dict(), self.ema.state_dict(), self.optimizer.state_dict(), self.seen)
        return copy.deepcopy(dict(zip(("network", "ema", "optimizer", "seen"), parts, strict=True)))

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        # A copy, because Adam takes the moments as they are and changes them in place.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.seen = state["seen"]


def drawn_images(setting: Setting, count: int) -> Tensor:
    """Random 8-bit images in the host's memory."""
    generator = torch.Generator().manual_seed(0)
    # Eight bytes a draw: one by one a real data set takes a second. Images have a multiple of 8.
    longs = torch.randint(-(2**62), 2**62, (count * math.prod(setting.shape) // 8,), generator=generator)
    return (longs << 1 ^ longs >> 7).view(torch.uint8).reshape(count, *setting.shape)


def _dropout_seed(seen: int) -> int:
    drawn = words(_SEED, Stream.DROPOUT, torch.tensor([seen]), 2)[0]
    return int(drawn[0]) << 31 | int(drawn[1]) >> 1
