"""AuthPct by brute force on the same features."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from flows.metrics.authenticity import AUTH_PCT
from infra.errors import ConfigError
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured_on, subject


def test_it_counts_samples_that_are_farther_than_the_next_training_image(tiny_run: TinyRun) -> None:
    generator = torch.Generator().manual_seed(0)
    real, drawn = torch.randn(40, 3, generator=generator), torch.randn(30, 3, generator=generator)
    drawn[:10] = real[:10] + 1e-4
    (found,), _ = measured_on([AUTH_PCT], subject(tiny_run), tiny_run.context, {"reference": real, "samples": drawn})
    among, across = cdist(real, real), cdist(drawn, real)
    np.fill_diagonal(among, np.inf)
    expected = 100 * np.mean(across.min(1) > among.min(1)[across.argmin(1)])
    (figure,) = found.figures
    assert 0 < expected < 70
    assert (figure.name, figure.value) == ("auth_pct_pixels", pytest.approx(expected))
    assert "30 samples farther from the nearest of 40 training images" in figure.note


def test_too_few_training_images_are_one_line(tiny_run: TinyRun) -> None:
    few = {"reference": torch.randn(5, 3), "samples": torch.randn(9, 3)}
    with pytest.raises(ConfigError, match="6 training images are needed for AuthPct; there are 5"):
        measured_on([AUTH_PCT], subject(tiny_run), tiny_run.context, few)
