"""The loss's scale moves as torch's own does, and no device is asked."""

import random

import pytest
import torch

from ddpm_core.loss_scale import (
    BACKOFF,
    GROWTH,
    GROWTH_STEPS,
    INITIAL_SCALE,
    LossScale,
    initial_scale,
    next_scale,
)

CPU = torch.device("cpu")


class Torchs:
    """torch.amp.GradScaler, given gradients that are finite or not."""

    def __init__(self, **more: float) -> None:
        self.scaler = torch.amp.GradScaler("cpu", **more)
        self.scaler.scale(torch.zeros(()))  # it makes its scale at the first loss
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.0)

    def step(self, finite: bool) -> float:
        self.weight.grad = torch.tensor([1.0 if finite else float("inf")])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.scaler.get_scale()


def outcomes() -> list[bool]:
    """Long runs of applied steps, single skips, a skip just before and just after a growth, and skips in a row."""
    drawn = random.Random(0)
    long = [True] * GROWTH_STEPS
    return [
        *([False] * 3),
        *long,
        *long[1:],
        False,
        *long,
        False,
        False,
        *(drawn.random() > 0.01 for _ in range(500)),
        *long,
    ]


def test_the_scales_of_a_long_run_are_torchs() -> None:
    torchs, ours = Torchs(), initial_scale(CPU)
    seen = set()
    assert float(ours.scale) == torchs.scaler.get_scale()
    for number, finite in enumerate(outcomes()):
        ours = next_scale(ours, torch.tensor(finite))
        assert float(ours.scale) == torchs.step(finite), number
        assert int(ours.steps) == torchs.scaler._get_growth_tracker(), number
        seen.add(float(ours.scale))
    assert len(seen) > 4
    assert max(seen) > min(seen) * 4


def test_the_numbers_of_the_rule_are_torchs() -> None:
    scaler = torch.amp.GradScaler("cpu")
    assert scaler.get_scale() == INITIAL_SCALE
    assert scaler.get_growth_factor() == GROWTH
    assert scaler.get_backoff_factor() == BACKOFF
    assert scaler.get_growth_interval() == GROWTH_STEPS


def test_the_largest_scale_stays_finite_as_torchs_does() -> None:
    largest = 2.0**127
    ours = next_scale(
        LossScale(torch.tensor(largest), torch.tensor(GROWTH_STEPS - 1, dtype=torch.int32)), torch.tensor(True)
    )
    assert float(ours.scale) == Torchs(init_scale=largest, growth_interval=1).step(True) == largest
    assert int(ours.steps) == 0


@pytest.mark.parametrize("device", [CPU, torch.device("meta")], ids=str)
def test_it_stays_on_its_device_in_its_types(device: torch.device) -> None:
    """A tensor on meta has no value: a question to the device would raise."""
    scale = next_scale(initial_scale(device), torch.ones((), dtype=torch.bool, device=device))
    assert (scale.scale.dtype, scale.steps.dtype) == (torch.float32, torch.int32)
    assert scale.scale.device == scale.steps.device == device
