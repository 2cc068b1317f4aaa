"""Copies to a GPU are right and waited for by nobody, and a chain takes the memory that was reckoned with."""

import pytest
import torch

from ddpm_core.network.unet import UNet
from infra.compute.footprint import peak_bytes
from infra.compute.probe import probe
from infra.compute.transfer import free_bytes, to_device
from tests.gpu.networks import CONFIG, SHAPE

pytestmark = pytest.mark.gpu

NUMBERS = torch.arange(100_000)


def test_a_copy_has_the_numbers_of_the_host(device):
    there = to_device(NUMBERS, device)
    assert there.device.type == device.type
    assert torch.equal(there.cpu(), NUMBERS)


def test_a_copy_never_waits_for_the_gpu(gpu):
    places = to_device(torch.arange(10), gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        to_device(NUMBERS, gpu)[places]
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_gpu_knows_its_memory(gpu):
    assert 0 < free_bytes(gpu) <= probe(compiler=False).gpus[0].memory


@torch.no_grad()
def test_a_forward_pass_takes_at_most_twice_what_was_reckoned(gpu):
    """A batch is chosen whose reckoning fills half of the memory."""
    count = 64

    def call(where):
        with where:
            network = UNet(CONFIG, seed=None).eval()
            x_t, t = torch.zeros(count, *SHAPE), torch.zeros(count, dtype=torch.int64)
        return lambda: network(x_t, t)

    forward, expected = call(gpu), peak_bytes(call(torch.device("meta")))
    forward()  # torch keeps the kernels' workspaces
    before = torch.cuda.memory_allocated(gpu)
    torch.cuda.reset_peak_memory_stats(gpu)
    forward()
    assert torch.cuda.max_memory_allocated(gpu) - before <= 2 * expected
