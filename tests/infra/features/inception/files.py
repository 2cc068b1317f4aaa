"""Files of random weights in the two forms that people have; names are written again, not taken from the product."""

import io

import torch
from torch import Tensor, nn

from infra.features.inception.layers import convolutions
from infra.features.inception.weights import weight_shapes

Weights = dict[str, Tensor]


def random_weights(seed: int = 0) -> Weights:
    """Weights in the names of pytorch-fid that keep the scale of what passes through them; float32.

    The weights of all batch norms are 1, since NVIDIA's file has none.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes().items():
        drawn = torch.randn(shape, generator=generator)
        if name.endswith("conv.weight"):
            weights[name] = drawn * (2 / drawn[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            weights[name] = 0.5 + drawn.abs()
        else:
            weights[name] = torch.ones(shape) if name.endswith("bn.weight") else 0.1 * drawn
    return weights


def with_the_rest(weights: Weights) -> Weights:
    """The 566 entries of the published state dict: those that are read, counters, and the bias of the classes."""
    norms = [name.removesuffix("weight") for name in weights if name.endswith("bn.weight")]
    counters = {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}
    return weights | counters | {"fc.bias": torch.ones(1008)}


def state_dict_file(weights: dict[str, object] | Weights, *, zipped: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(weights, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


class Conv2dLayer(nn.Module):
    """Parameters in NVIDIA's names."""

    def __init__(self, weight: Tensor, beta: Tensor, mean: Tensor, var: Tensor) -> None:
        super().__init__()
        self.weight, self.beta = nn.Parameter(weight), nn.Parameter(beta)
        self.mean, self.var = nn.Parameter(mean), nn.Parameter(var)


class Group(nn.Module):
    """Layers, as they are nested in NVIDIA's network."""


class Network(nn.Module):
    """The root of NVIDIA's network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Group()
        self.output = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        """Raise if it is called: no test runs it."""
        raise RuntimeError("the archive's code was run")


def torchscript_file(weights: Weights) -> bytes:
    """A TorchScript archive of these weights."""
    network = Network()
    for one in convolutions():
        place: nn.Module = network
        *groups, leaf = one.scope.split(".")
        for group in groups:
            if not hasattr(place, group):
                place.add_module(group, Group())
            place = getattr(place, group)
        parts = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        place.add_module(leaf, Conv2dLayer(*(weights[f"{one.name}.{part}"] for part in parts)))
    network.output.weight = nn.Parameter(weights["fc.weight"])
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    return file.getvalue()
