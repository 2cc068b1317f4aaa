"""The weights of FID's Inception network from either file that people have, as tensors only: no code of a file runs."""

from collections.abc import Iterator

import torch
from torch import Tensor

from infra.errors import InputError
from infra.features.inception.layers import CLASSES, FEATURE_DIM, convolutions
from infra.features.torch_file import read_torch_file
from infra.features.weights_file import Shape, checked_tensors

PYTORCH_FID = "pt_inception-2015-12-05-6726825d.pth"
NVIDIA = "inception-2015-12-05.pt"
# The sha256 of the files that are published under these names; both hold the weights of TensorFlow's graph.
PUBLISHED = {
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": PYTORCH_FID,
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4": NVIDIA,
}
REMEDY = f"take {PYTORCH_FID} from github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, or NVIDIA's {NVIDIA}"

# The matrix from the features to the scores of the 1,008 classes.
SCORES = "fc.weight"

_NETWORK = "FID's network"
_NORM = ("weight", "bias", "running_mean", "running_var")
# NVIDIA's names of the parts of a batch norm; its weights are all 1 and not in the file.
_NVIDIA_NORM = {"bias": "beta", "running_mean": "mean", "running_var": "var"}


def weight_shapes() -> dict[str, Shape]:
    """The shape of every tensor that the features and the class scores need, by its name in the file of pytorch-fid."""
    shapes: dict[str, Shape] = {}
    for found in convolutions():
        shapes[f"{found.name}.conv.weight"] = (found.conv.channels, found.inputs, *found.conv.kernel)
        shapes |= {f"{found.name}.bn.{part}": (found.conv.channels,) for part in _NORM}
    return shapes | {SCORES: (CLASSES, FEATURE_DIM)}


def read_weights(data: bytes, item: str) -> dict[str, Tensor]:
    """Read a state dict in the names of pytorch-fid, or a TorchScript archive in the names of NVIDIA.

    Args:
        data: The file.
        item: Its name in an error.

    Returns:
        The tensors of `weight_shapes`, float32.

    Raises:
        InputError: If it is neither, or a name or a shape is not the network's.
    """
    try:
        tensors = read_torch_file(data, item)
        if any(name.startswith("layers.") for name in tensors):
            return _from_nvidia(tensors, item)
        return checked_tensors(tensors, weight_shapes(), _unused(), network=_NETWORK, item=item)
    except InputError as error:
        error.remedy = REMEDY
        raise


def _from_nvidia(tensors: dict[str, Tensor], item: str) -> dict[str, Tensor]:
    named = dict(_nvidia_names())
    expected = {ours: weight_shapes()[theirs] for ours, theirs in named.items()}
    unused: dict[str, Shape] = {"output.bias": (CLASSES,)}
    checked = checked_tensors(tensors, expected, unused, network=_NETWORK, item=item)
    found = {named[name]: tensor for name, tensor in checked.items()}
    ones = {f"{one.name}.bn.weight": torch.ones(one.conv.channels) for one in convolutions()}
    return {name: (found | ones)[name] for name in weight_shapes()}


def _nvidia_names() -> Iterator[tuple[str, str]]:
    """Yield each name in NVIDIA's file and the name of the same tensor in that of pytorch-fid."""
    for one in convolutions():
        yield f"{one.scope}.weight", f"{one.name}.conv.weight"
        for part, name in _NVIDIA_NORM.items():
            yield f"{one.scope}.{name}", f"{one.name}.bn.{part}"
    yield "output.weight", SCORES


def _unused() -> dict[str, Shape]:
    """The tensors of pytorch-fid's file beside the weights of the features and the class scores."""
    counters: dict[str, Shape] = {f"{one.name}.bn.num_batches_tracked": () for one in convolutions()}
    return counters | {"fc.bias": (CLASSES,)}
