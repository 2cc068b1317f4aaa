"""KID: the mean over pairs of random blocks of the features, by brute force on the same features."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics.pairwise import polynomial_kernel

from ddpm_core.metrics.blocks import random_blocks
from flows.metrics.kernel import KID
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured_on, subject


def by_tables(x: np.ndarray, y: np.ndarray) -> float:
    within_x, within_y, across = (
        polynomial_kernel(a, b, degree=3, coef0=1).astype(np.float64) for a, b in ((x, x), (y, y), (x, y))
    )
    n, m = len(x), len(y)
    return float(
        (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
        + (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
        - 2 * across.mean()
    )


def test_it_is_the_mean_over_pairs_of_blocks(tiny_run: TinyRun) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = {
        "reference": torch.randn(61, 4, generator=generator),
        "samples": 0.5 + torch.randn(30, 4, generator=generator),
    }
    (found,), (work,) = measured_on([KID], subject(tiny_run, {"seed": 5}), tiny_run.context, sides)
    blocks = zip(random_blocks(5, 61, 0, 3), random_blocks(5, 30, 1, 3), strict=False)
    expected = [
        by_tables(sides["reference"][rows].double().numpy(), sides["samples"][others].double().numpy())
        for rows, others in blocks
    ]
    (figure,) = found.figures
    assert len(expected) == 10
    assert len(work.names) == 2  # eight pairs and two
    assert figure.name == "kid_pixels"
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert figure.standard_error == pytest.approx(stats.sem(expected), rel=1e-9)
    assert "30 samples to 61 training images: the mean of 10 pairs of random blocks of 3" in figure.note
    assert found.counts == {"kernel_blocks": 10}


def test_the_seed_chooses_the_blocks_and_enters_the_key_if_it_is_not_the_default(tiny_run: TinyRun) -> None:
    sides = {"reference": torch.randn(40, 4), "samples": torch.randn(40, 4)}
    (one,), (first,) = measured_on([KID], subject(tiny_run), tiny_run.context, sides)
    (two,), (other,) = measured_on([KID], subject(tiny_run, {"seed": 1}), tiny_run.context, sides)
    assert one.figures[0].value != two.figures[0].value
    assert (first.plan.settings, other.plan.settings) == ({}, {"seed": 1})
