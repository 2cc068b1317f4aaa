"""Every kind of schedule has its maker, which uses the settings that the kind says."""

import pytest
import torch

from ddpm_core.choices import ScheduleKind
from ddpm_core.named import SCHEDULES, named_schedule
from ddpm_core.schedule import (
    constant_schedule,
    cosine_schedule,
    jsd_schedule,
    linear_schedule,
    quadratic_schedule,
    scaled_linear_schedule,
    sigmoid_schedule,
    warmup_schedule,
)

EXPECTED = {
    "linear": linear_schedule(30, 0.001, 0.02),
    "scaled_linear": scaled_linear_schedule(30, 0.001, 0.02),
    "quadratic": quadratic_schedule(30, 0.001, 0.02),
    "cosine": cosine_schedule(30),
    "sigmoid": sigmoid_schedule(30),
    "constant": constant_schedule(30, 0.02),
    "jsd": jsd_schedule(30),
    "warmup10": warmup_schedule(30, 0.001, 0.02, 0.1),
    "warmup50": warmup_schedule(30, 0.001, 0.02, 0.5),
}


def test_every_kind_has_its_maker():
    assert set(SCHEDULES) == set(ScheduleKind) == set(EXPECTED)


@pytest.mark.parametrize("kind", ScheduleKind)
def test_a_name_makes_its_schedule(kind):
    assert torch.equal(named_schedule(kind, 30, 0.001, 0.02).betas, EXPECTED[kind].betas)


@pytest.mark.parametrize("kind", ScheduleKind)
def test_a_schedule_uses_the_betas_that_its_kind_says(kind):
    base = named_schedule(kind, 30, 0.001, 0.02).betas
    changed = {
        "beta_start": named_schedule(kind, 30, 0.002, 0.02).betas,
        "beta_end": named_schedule(kind, 30, 0.001, 0.03).betas,
    }
    assert {name for name, betas in changed.items() if not torch.equal(betas, base)} == set(kind.uses)


@pytest.mark.parametrize("kind", ScheduleKind)
def test_zero_terminal_snr_ends_in_noise_alone(kind):
    assert float(named_schedule(kind, 30, 0.001, 0.02, zero_terminal_snr=True).alphas_cumprod[-1]) == 0
