import math

import numpy as np
import pytest
import torch
from scipy import stats

from ddpm_core.metrics.estimate import mean_of, share_of


def test_a_mean_has_scipys_standard_error():
    values = torch.tensor([3.0, -1, 4, 1, 5, 9], dtype=torch.float64)
    found = mean_of(values)
    assert found.value == pytest.approx(21 / 6)
    assert found.standard_error == pytest.approx(stats.sem(values.numpy()))
    assert found.terms == 6
    assert mean_of(values.tolist()) == found


def test_one_value_has_no_error():
    assert mean_of([2.5]) == (2.5, None, None)


def test_a_share_has_the_binomial_error():
    """It is the error of a mean of zeros and ones, but for the division by n in place of n - 1."""
    hits = torch.tensor([True, False, True, True, False])
    found = share_of(hits)
    assert found.value == pytest.approx(0.6)
    assert found.terms == 5
    assert found.standard_error == pytest.approx(math.sqrt(0.6 * 0.4 / 5))
    assert found.standard_error == pytest.approx(stats.sem(hits.numpy().astype(float)) * math.sqrt(4 / 5))


def test_float32_values_are_summed_in_float64():
    values = torch.full((3000,), 0.1) + 1000
    assert mean_of(values).value == pytest.approx(np.mean(values.double().numpy()), rel=1e-15)


def test_nothing_has_neither_mean_nor_share():
    with pytest.raises(ValueError, match="a mean needs at least 1 value; got 0"):
        mean_of([])
    with pytest.raises(ValueError, match="a share needs at least 1 draw; got 0"):
        share_of(torch.empty(0, dtype=torch.bool))
