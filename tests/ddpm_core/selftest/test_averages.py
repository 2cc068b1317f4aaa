"""Each way to break the power averages is seen, by the family that is about them."""

import torch

from ddpm_core import power_ema
from ddpm_core.power_ema import Reconstruction, step_decay
from ddpm_core.selftest import averages
from tests.ddpm_core.selftest.family import failures

KEPT, REBUILT = "average of 1..9 with gamma 3", "average of 1..3 with gamma 1, rebuilt from gamma 3"


def test_the_averages_are_right():
    assert failures("averages") == []


def test_another_exponent_of_the_decay(monkeypatch):
    monkeypatch.setattr(averages, "step_decay", lambda step, gamma: step_decay(step, gamma - 1))
    assert failures("averages") == [KEPT, REBUILT]


def test_lengths_by_another_formula(monkeypatch):
    gamma_of = power_ema.gamma_of
    monkeypatch.setattr(averages, "gamma_of", lambda length: gamma_of(length) + 1)
    assert len(failures("averages")) == 2


def test_coefficients_that_leave_out_old_averages(monkeypatch):
    latest = Reconstruction(torch.tensor([0.0, 0.0, 1.0]), 0.0, 1.0)
    monkeypatch.setattr(averages, "reconstruction", lambda stored, target: latest)
    assert failures("averages") == [REBUILT]
