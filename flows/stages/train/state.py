"""The state of training, which a checkpoint saves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ddpm_core.loss_scale import LossScale
from ddpm_core.network.unet import UNet
from flows.stages.train.averages import PowerAverages
from flows.stages.train.skips import Skips


@dataclass
class TrainingState:
    """Everything that a checkpoint saves; order, noise and timesteps are computed from `images_seen`.

    `averages` is None on a worker that keeps none, and after a checkpoint without them: they must average all steps.
    `loss_scale` is None unless training is in float16; a checkpoint of another dtype has none, and leaves it as it is.
    """

    network: UNet
    ema: UNet
    optimizer: torch.optim.Adam
    averages: PowerAverages | None = None
    loss_scale: LossScale | None = None
    images_seen: int = 0
    skips: Skips = field(default_factory=Skips)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
        if self.averages is not None:
            tensors |= {f"averages.{name}": value for name, value in self.averages.tensors().items()}
        if self.loss_scale is not None:
            tensors |= {f"loss_scale.{name}": value for name, value in self.loss_scale._asdict().items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Restore the state from a checkpoint's tensors and scalars."""
        self.network.load_state_dict(below("network.", tensors))
        self.ema.load_state_dict(below("ema.", tensors))
        weights = list(self.network.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in below("optimizer.", tensors).items():
            number, _, kind = name.partition(".")
            if kind != "step":
                # The fused kernel walks through memory in order, so moments need their weights' layout, channels last.
                value = torch.empty_like(weights[int(number)]).copy_(value)
            moments.setdefault(int(number), {})[kind] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        saved = below("averages.", tensors)
        if self.averages is not None and saved:
            self.averages.restore(saved)
        elif not saved:
            self.averages = None
        scale = below("loss_scale.", tensors)
        if self.loss_scale is not None and scale:
            device = self.loss_scale.scale.device
            self.loss_scale = LossScale(**{name: value.to(device) for name, value in scale.items()})
        self.images_seen = scalars["images_seen"]
        self.skips = Skips(weights[0].device, scalars["skipped_in_a_row"])


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
