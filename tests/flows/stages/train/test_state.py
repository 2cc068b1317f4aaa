"""A state goes into a checkpoint's tensors and comes back whole, and trains on as if it had never left."""

import copy

import pytest
import torch

from ddpm_core.loss_scale import LossScale, initial_scale
from ddpm_core.network.unet import UNet
from flows.snapshot import channels_last
from flows.stages.train.state import TrainingState
from tests.oracles.unet import SMALL, randn


def fresh(seed: int) -> TrainingState:
    network = channels_last(UNet(SMALL, seed=seed))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    return TrainingState(network=network, ema=copy.deepcopy(network).requires_grad_(False), optimizer=optimizer)


def step(state: TrainingState, seed: int) -> None:
    state.optimizer.zero_grad()
    state.network(randn(2, 3, 8, 8, seed=seed), torch.tensor([3, 9])).square().sum().backward()
    state.optimizer.step()


def test_a_restored_state_goes_on_bit_for_bit() -> None:
    state, other = fresh(0), fresh(1)
    for seed in range(3):
        step(state, seed)
    state.images_seen = 96
    # Contiguous, as a file's bytes are, whatever the layout of the weights.
    saved = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.tensors().items()}
    other.restore(saved, {"images_seen": 96, "skipped_in_a_row": 2})
    assert (other.images_seen, other.skips.in_a_row) == (96, 2)
    for seed in range(3, 6):
        step(state, seed)
        step(other, seed)
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in state.tensors().items())


@pytest.mark.parametrize("other_dtype", [False, True], ids=["float16", "a checkpoint of another dtype"])
def test_the_scale_of_the_loss_is_restored_if_it_was_saved(other_dtype: bool) -> None:
    state, other = fresh(0), fresh(1)
    if not other_dtype:
        state.loss_scale = LossScale(torch.tensor(512.0), torch.tensor(7, dtype=torch.int32))
    other.loss_scale = initial_scale(torch.device("cpu"))
    other.restore(dict(state.tensors()), {"images_seen": 0, "skipped_in_a_row": 0})
    assert tuple(map(int, other.loss_scale)) == ((65536, 0) if other_dtype else (512, 7))


def test_without_float16_a_state_has_no_scale_and_takes_none() -> None:
    state, other = fresh(0), fresh(1)
    assert not any(name.startswith("loss_scale") for name in state.tensors())
    state.loss_scale = initial_scale(torch.device("cpu"))
    assert {name for name in state.tensors() if name.startswith("loss_scale")} == {
        "loss_scale.scale",
        "loss_scale.steps",
    }
    other.restore(dict(state.tensors()), {"images_seen": 0, "skipped_in_a_row": 0})
    assert other.loss_scale is None
