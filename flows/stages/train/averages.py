"""Two power-function averages of the weights, from which an average of any length can be rebuilt after training.

Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3; the equations are
in `ddpm_core.power_ema`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ddpm_core.power_ema import gamma_of, step_decay
from infra.outputs.tensors import encode_tensors

AVERAGES = "averages"
# The lengths of the averages, as shares of the run so far.
SIGMA_RELS = (0.05, 0.10)


class PowerAverages:
    """The averages of a network's parameters over all steps so far.

    Args:
        network: The network; its parameters are copied, and the first update overwrites the copies.
    """

    def __init__(self, network: nn.Module) -> None:
        parameters = dict(network.named_parameters())
        self._names = list(parameters)
        self._averages = [[value.detach().clone() for value in parameters.values()] for _ in SIGMA_RELS]
        self._gammas = [gamma_of(sigma_rel) for sigma_rel in SIGMA_RELS]

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step, counted from 1; a skipped step counts too, so that the profile is exact."""
        weights = [value.detach() for value in network.parameters()]
        for averages, gamma in zip(self._averages, self._gammas, strict=True):
            torch._foreach_lerp_(averages, weights, 1 - step_decay(step, gamma))

    def tensors(self) -> dict[str, Tensor]:
        """Return every average by the name `<index>.<parameter>`; the index is that of its length in SIGMA_RELS."""
        return {
            f"{index}.{name}": value
            for index, averages in enumerate(self._averages)
            for name, value in zip(self._names, averages, strict=True)
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over saved averages, by the names of `tensors`."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])


def encode_averages(tensors: Mapping[str, Tensor], images_seen: int, steps: int) -> bytes:
    """Write averages as the bytes of one safetensors file, whose tensors are named `<index>/<parameter>`.

    Args:
        tensors: The averages, by the names of `PowerAverages.tensors`.
        images_seen: Images seen so far.
        steps: Steps that they average.
    """
    scalars = {"sigma_rels": list(SIGMA_RELS), "steps": steps, "images_seen": images_seen}
    return encode_tensors({name.replace(".", "/", 1): value for name, value in tensors.items()}, scalars)
