"""The state of training, which a checkpoint saves."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpm_core.network.unet import UNet


@dataclass
class TrainingState:
    """Everything that a checkpoint saves; order, noise and timesteps are computed from `images_seen`."""

    network: UNet
    ema: UNet
    optimizer: torch.optim.Adam
    images_seen: int = 0
    skipped_in_a_row: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Restore the state from a checkpoint's tensors and scalars."""
        self.network.load_state_dict(_below("network.", tensors))
        self.ema.load_state_dict(_below("ema.", tensors))
        weights = list(self.network.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer.", tensors).items():
            number, _, kind = name.partition(".")
            if kind != "step":
                # The fused kernel walks through memory in order, so moments need their weights' layout, channels last.
                value = torch.empty_like(weights[int(number)]).copy_(value)
            moments.setdefault(int(number), {})[kind] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.images_seen = scalars["images_seen"]
        self.skipped_in_a_row = scalars["skipped_in_a_row"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
