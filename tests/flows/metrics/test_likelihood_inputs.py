"""A worker's inputs: terms that are not finite are named and not kept."""

import pytest
import torch

from flows.metrics.likelihood_inputs import finite
from infra.errors import DivergedError


def test_a_fit_that_is_not_finite_is_not_kept() -> None:
    with pytest.raises(DivergedError, match=r"training images 0\.\.7"):
        finite({"second_moments": torch.tensor([1.0, float("inf")])}, "train", 0, 8)
