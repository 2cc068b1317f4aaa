"""Programs of a user, in both forms of file."""

import io
import warnings

import torch
from torch import Tensor, nn


class Moments(nn.Module):
    """The mean and the spread of each channel, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(torch.float32) / 255
        return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1) * self.weight


def torchscript_file(module: nn.Module) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        torch.jit.save(torch.jit.script(module), file)
    return file.getvalue()


def exported_file(module: nn.Module, side: int) -> bytes:
    """A program for any number of images of one size."""
    file = io.BytesIO()
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, file)
    return file.getvalue()
