"""The peak of a call is that of the tensors alive at a time, by hand and by torch's own profiler."""

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from infra.compute.footprint import peak_bytes

META = torch.device("meta")
KILO = 1000 * 4


def kilo() -> Tensor:
    return torch.empty(1000, device=META)


def chain() -> Tensor:
    x = kilo()
    y = x * 2
    del x
    return y + 1


def all_kept() -> list[Tensor]:
    x = kilo()
    return [x, x * 2, x + 1]


def views() -> Tensor:
    return kilo().view(10, 100)[2:].t()


def in_place() -> Tensor:
    return kilo().mul_(2).add_(1)


@pytest.mark.parametrize(("call", "kilos"), [(chain, 2), (all_kept, 3), (views, 1), (in_place, 1)])
def test_the_peak_by_hand(call: object, kilos: int) -> None:
    assert peak_bytes(call) == kilos * KILO


def test_tensors_from_before_do_not_count() -> None:
    before = kilo()
    assert peak_bytes(lambda: (before + 1, before.view(10, 100))) == KILO


def test_a_peak_that_has_passed_counts() -> None:
    def call() -> None:
        [kilo() for _ in range(5)]
        kilo()

    assert peak_bytes(call) == 5 * KILO


@torch.no_grad()
def test_it_is_the_peak_that_torch_allocates_on_a_processor() -> None:
    layers = nn.Sequential(nn.Linear(300, 4000), nn.Tanh(), nn.Linear(4000, 50))
    x = torch.zeros(20, 300)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True) as recorded:
        layers(x)
    now = peak = 0
    for event in sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    there = layers.to(META)
    assert peak_bytes(lambda: there(x.to(META))) - x.nbytes == peak == 2 * 20 * 4000 * 4
