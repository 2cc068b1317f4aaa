"""Residual blocks that compute their activations again give the same bits and keep less."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ddpm_core.network.unet import UNet
from tests.oracles.unet import SMALL, randn, with_random_weights


def backward(network: UNet, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], int]:
    """The gradients, and the bytes that the forward pass keeps for them, weights left out."""
    kept: dict[int, int] = {}
    weights = {weight.data_ptr() for weight in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(5)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32),
    ):
        output = network(randn(4, 3, 8, 8), torch.tensor([0, 3, 50, 999]))
    output.float().square().sum().backward()
    return [weight.grad for weight in network.parameters()], sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_equal_to_the_last_bit(dropout: float, dtype: torch.dtype) -> None:
    plain = with_random_weights(UNet(replace(SMALL, dropout=dropout), seed=0)).train()
    again = copy.deepcopy(plain)
    again.recompute_blocks()
    (expected, much), (found, little) = backward(plain, dtype), backward(again, dtype)
    assert all(map(torch.equal, found, expected))
    assert any(bool(gradient.any()) for gradient in expected)
    assert little < 0.6 * much


def test_without_gradients_nothing_is_computed_twice() -> None:
    network = with_random_weights(UNet(SMALL, seed=0))
    arguments = randn(2, 3, 8, 8), torch.tensor([1, 2])
    calls = []
    network.middle_1.conv_1.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        expected = network(*arguments)
        network.recompute_blocks()
        assert torch.equal(network(*arguments), expected)
    assert len(calls) == 2
