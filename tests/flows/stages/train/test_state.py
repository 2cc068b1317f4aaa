"""A state goes into a checkpoint's tensors and comes back whole, and trains on as if it had never left."""

import copy

import torch

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
    torch.set_num_threads(1)
    state, other = fresh(0), fresh(1)
    for seed in range(3):
        step(state, seed)
    state.images_seen, state.skipped_in_a_row = 96, 2
    # Contiguous, as a file's bytes are, whatever the layout of the weights.
    saved = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.tensors().items()}
    other.restore(saved, {"images_seen": 96, "skipped_in_a_row": 2})
    assert (other.images_seen, other.skipped_in_a_row) == (96, 2)
    for seed in range(3, 6):
        step(state, seed)
        step(other, seed)
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in state.tensors().items())
