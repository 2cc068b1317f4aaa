"""The batch that fits: by the memory that a forward pass takes, never by what is free."""

from dataclasses import replace

import pytest
import torch

from ddpm_core.network.unet import UNet
from ddpm_core.network.unet_config import UNetConfig
from flows.stages.sample.batch import LARGEST, fitting_batch

GIB = 1 << 30
CONFIG = UNetConfig.cifar10()
WEIGHTS = 4 * 35_746_307
# Grey levels, features and skips of one image: between the widest feature map and all of them.
LEAST, MOST = 4 * 128 * 32**2, 64 << 20


def test_a_large_gpu_takes_no_more_than_is_worth_it() -> None:
    assert fitting_batch(CONFIG, 140 * GIB) == fitting_batch(CONFIG, 1 << 50) == LARGEST


@pytest.mark.parametrize("memory", [GIB, 2 * GIB, 4 * GIB, 8 * GIB])
def test_half_of_the_memory_holds_it_and_not_twice_as_many(memory: int) -> None:
    count = fitting_batch(CONFIG, memory)
    assert count & (count - 1) == 0, "a power of two"
    # The same peak from the other side: it grows with each image by as much.
    per_image = (memory / 2 - WEIGHTS) / count
    assert LEAST < per_image < MOST
    assert fitting_batch(CONFIG, 2 * memory) >= 2 * count


def test_memory_that_holds_the_weights_alone_still_draws_an_image() -> None:
    assert fitting_batch(CONFIG, 2 * WEIGHTS) == fitting_batch(CONFIG, 1) == 1


def test_guidance_halves_it() -> None:
    conditional = replace(CONFIG, num_classes=11)
    assert fitting_batch(conditional, 2 * GIB) == 2 * fitting_batch(conditional, 2 * GIB, guided=True)


def test_weights_are_those_of_the_network() -> None:
    with torch.device("meta"):
        assert sum(weight.nbytes for weight in UNet(CONFIG, seed=None).parameters()) == WEIGHTS
