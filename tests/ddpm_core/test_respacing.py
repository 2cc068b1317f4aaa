"""Respaced chains: the kept alpha-bars are the original's, and the network is told the original timesteps."""

import numpy as np
import pytest
import torch

from ddpm_core.schedule import cosine_schedule, linear_schedule, respace

LINEAR = linear_schedule()


@pytest.mark.parametrize("schedule", [LINEAR, cosine_schedule(1000)], ids=["linear", "cosine"])
@pytest.mark.parametrize("num_steps", [2, 3, 50, 100, 999])
def test_a_respaced_chain_keeps_the_marginals_and_both_ends(schedule, num_steps):
    short = respace(schedule, num_steps)
    kept = short.timesteps
    assert short.num_timesteps == num_steps
    assert kept[0] == 0
    assert kept[-1] == 999
    assert bool((kept.diff() > 0).all())
    np.testing.assert_allclose(kept.numpy(), np.linspace(0, 999, num_steps), rtol=0, atol=0.5 + 1e-9)
    np.testing.assert_allclose(
        short.alphas_cumprod.numpy(), schedule.alphas_cumprod[kept].numpy(), rtol=1e-11, atol=1e-15
    )


def test_a_respaced_step_is_the_composition_of_the_steps_it_skips():
    short = respace(LINEAR, 50)
    for step in range(1, 50):
        first, last = int(short.timesteps[step - 1]), int(short.timesteps[step])
        variance = 0.0
        for t in range(first + 1, last + 1):
            variance = (1 - float(LINEAR.betas[t])) * variance + float(LINEAR.betas[t])
        assert float(short.betas[step]) == pytest.approx(variance, rel=1e-9)


def test_respacing_twice_still_tells_the_original_timesteps():
    twice = respace(respace(LINEAR, 100), 10)
    torch.testing.assert_close(twice.alphas_cumprod, LINEAR.alphas_cumprod[twice.timesteps], rtol=1e-11, atol=0)
    assert int(twice.timesteps[-1]) == 999


def test_respacing_to_the_full_length_changes_nothing():
    assert respace(LINEAR, 1000) is LINEAR


@pytest.mark.parametrize("num_steps", [-1, 0, 1, 1001])
def test_respacing_to_an_impossible_length_is_refused(num_steps):
    with pytest.raises(ValueError, match=rf"num_steps must lie in 2\.\.1000; got {num_steps}"):
        respace(LINEAR, num_steps)
