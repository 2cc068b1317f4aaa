"""The units of the bound: the timesteps of the fit, and terms that are not finite."""

import pytest
import torch

from flows.metrics.bound_units import _finite, proposal_timesteps
from infra.errors import DivergedError


@pytest.mark.parametrize("num_timesteps", [2, 3, 20, 65, 1000, 4000])
def test_the_fits_timesteps_are_few_and_reach_both_ends(num_timesteps: int) -> None:
    timesteps = proposal_timesteps(num_timesteps)
    assert int(timesteps[0]) == 1
    assert int(timesteps[-1]) == num_timesteps - 1
    assert bool((timesteps.diff() > 0).all())
    assert len(timesteps) <= 64
    if num_timesteps <= 20:
        assert timesteps.tolist() == list(range(1, num_timesteps))


def test_a_fit_that_is_not_finite_is_not_kept() -> None:
    with pytest.raises(DivergedError, match=r"training images 0\.\.7"):
        _finite({"second_moments": torch.tensor([1.0, float("inf")])}, "train", 0, 8)
