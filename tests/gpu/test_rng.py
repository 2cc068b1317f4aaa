"""A GPU draws the CPU's numbers: equal words, equal uniforms, and normals equal but for their last bit."""

import pytest
import torch

from ddpm_core.rng import Stream, integers, normal, uniform, words
from ddpm_core.training_order import training_noise

pytestmark = pytest.mark.gpu

INDEX = torch.tensor([0, 1, 2, 5, 1000, 65_537, (1 << 32) - 1, 1 << 32, (1 << 48) - 1])


@pytest.mark.parametrize("stream", [Stream.X_T, Stream.WINDOW_ORDER])
@pytest.mark.parametrize("seed", [0, 1, (1 << 64) - 1])
@pytest.mark.parametrize("step", [0, 999, (1 << 32) - 1])
def test_words_are_equal_bit_for_bit(device, seed, stream, step):
    expected = words(seed, stream, INDEX, 103, step)
    assert torch.equal(words(seed, stream, INDEX.to(device), 103, step).cpu(), expected)


def test_uniform_numbers_are_equal_bit_for_bit(device):
    expected = uniform(3, Stream.NLL_T, INDEX, (5, 7), step=2)
    assert torch.equal(uniform(3, Stream.NLL_T, INDEX.to(device), (5, 7), step=2).cpu(), expected)


def test_integers_are_equal(device):
    ids = torch.arange(10_000)
    expected = integers(3, Stream.TRAINING_T, ids, 1000)
    assert torch.equal(integers(3, Stream.TRAINING_T, ids.to(device), 1000).cpu(), expected)


def test_normal_numbers_differ_in_the_last_bit_at_most(device):
    """2^-23 is the spacing of float32 relative to the number below it; the float64 before it differs by rounding."""
    ids = torch.arange(1000)
    expected = normal(3, Stream.X_T, ids, (3, 32, 32), step=7)
    computed = normal(3, Stream.X_T, ids.to(device), (3, 32, 32), step=7).cpu()
    torch.testing.assert_close(computed, expected, rtol=2.0**-23, atol=1e-13)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_an_images_noise_does_not_depend_on_its_batch(device, count):
    ids = torch.arange(64, device=device)
    together = normal(3, Stream.Z_T, ids, (3, 8, 8), step=7)
    apart = torch.cat([normal(3, Stream.Z_T, part, (3, 8, 8), step=7) for part in ids.split(count)])
    assert torch.equal(apart, together)


def test_training_draws_the_same_timesteps_and_coins(device):
    slots = torch.arange(5000, 5512)
    here, there = (training_noise(3, part, 1000, (1, 8, 8)) for part in (slots, slots.to(device)))
    assert torch.equal(there.t.cpu(), here.t)
    assert torch.equal(there.flip.cpu(), here.flip)
    torch.testing.assert_close(there.eps.cpu(), here.eps, rtol=2.0**-23, atol=1e-13)


def test_drawing_never_waits_for_the_gpu(gpu):
    slots = torch.arange(512, device=gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training_noise(3, slots, 1000, (3, 8, 8))
        normal(3, Stream.Z_T, slots, (3, 8, 8), step=7)
        uniform(3, Stream.NLL_T, slots, (20,))
    finally:
        torch.cuda.set_sync_debug_mode("default")
