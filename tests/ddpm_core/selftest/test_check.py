import math

import pytest
import torch

from ddpm_core.selftest.check import Check, largest


@pytest.mark.parametrize(
    ("got", "expected", "tolerance", "passed"),
    [
        (1.0, 1.0, 0.0, True),
        (1.5, 1.0, 0.5, True),
        (0.5, 1.0, 0.5, True),
        (1.5001, 1.0, 0.5, False),
        (0.4999, 1.0, 0.5, False),
        (math.nan, 1.0, 10.0, False),
        (math.inf, 1.0, 10.0, False),
        (-math.inf, 0.0, 10.0, False),
    ],
)
def test_a_check_passes_within_its_tolerance(got, expected, tolerance, passed):
    assert Check("family", "what", got, expected, tolerance).passed is passed


@pytest.mark.parametrize(("errors", "expected"), [([0.0, -3.0, 2.0], 3.0), ([[0.5], [-0.25]], 0.5)])
def test_the_largest_error_is_an_absolute_value(errors, expected):
    assert largest(torch.tensor(errors)) == expected


def test_the_largest_error_of_what_is_no_number_is_none():
    assert math.isnan(largest(torch.tensor([1.0, math.nan])))
