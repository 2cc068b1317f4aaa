import math

import pytest
import torch
from torch import nn

from ddpm_core.ema import _move_by, ema_decay, ema_sigma_rel, update_ema, update_ema_if
from ddpm_core.power_ema import sigma_rel_of


def test_the_average_starts_as_a_copy():
    assert ema_decay(0, 128, halflife_images=1000.0, rampup_ratio=0.05) == 0


def test_a_long_run_has_the_given_halflife():
    """After as many images as the half-life, an old weight counts for one half."""
    decay = ema_decay(10**9, 10, halflife_images=1000.0, rampup_ratio=0.05)
    assert decay ** (1000 / 10) == pytest.approx(0.5)


def test_an_early_halflife_is_a_share_of_the_run():
    decay = ema_decay(2000, 10, halflife_images=1e9, rampup_ratio=0.05)
    assert decay ** (0.05 * 2000 / 10) == pytest.approx(0.5)


def test_hos_0_9999_at_batch_128_is_a_halflife_of_887_000_images():
    assert ema_decay(10**9, 128, halflife_images=887_000.0, rampup_ratio=1.0) == pytest.approx(0.9999, abs=1e-7)


def test_the_ramp_ends_where_the_shares_meet():
    before, at, after = (ema_decay(n, 8, halflife_images=1000.0, rampup_ratio=0.1) for n in (9000, 10_000, 11_000))
    assert before < at == after


@pytest.mark.parametrize("batch", [64, 128])
def test_two_small_steps_decay_like_a_big_one(batch):
    once = ema_decay(10**9, 2 * batch, halflife_images=5000.0, rampup_ratio=0.1)
    assert ema_decay(10**9, batch, halflife_images=5000.0, rampup_ratio=0.1) ** 2 == pytest.approx(once)


def test_an_update_moves_every_average_in_place():
    average, weights = nn.Linear(3, 2), nn.Linear(3, 2)
    expected = [
        0.7 * a.detach() + 0.3 * w.detach() for a, w in zip(average.parameters(), weights.parameters(), strict=True)
    ]
    before = [w.detach().clone() for w in weights.parameters()]
    places = [a.data_ptr() for a in average.parameters()]
    update_ema(average.parameters(), weights.parameters(), 0.7)
    for a, e in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(a.detach(), e)
    assert [a.data_ptr() for a in average.parameters()] == places
    assert all(torch.equal(w, b) for w, b in zip(weights.parameters(), before, strict=True))
    assert all(a.grad_fn is None for a in average.parameters())


def test_many_updates_are_the_exponentially_weighted_sum():
    weights = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    average = torch.zeros(4, dtype=torch.float64)
    for row in weights:
        update_ema([average], [row], 0.9)
    shares = 0.1 * 0.9 ** torch.arange(29, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(average, shares @ weights)


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 3.3), (1.0, -1.7)])
def test_the_ends_are_exact(decay, expected):
    average, weight = torch.tensor([-1.7]), torch.tensor([3.3])
    update_ema([average], [weight], decay)
    assert torch.equal(average, torch.tensor([expected]))


def test_the_length_of_a_growing_average_is_that_of_a_power_function():
    """beta = 0.5^(1 / (r k)) for step k + 1 is (1 - 1/k)^(gamma + 1) with gamma + 1 = ln 2 / r, up to 1 / k^2."""
    length = ema_sigma_rel(200_000, 16, halflife_images=1e12, rampup_ratio=0.05)
    assert length == pytest.approx(sigma_rel_of(math.log(2) / 0.05 - 1), rel=1e-3)


def test_the_length_is_the_deviation_of_the_weights_of_the_steps():
    """Against the recursion on unit vectors, whose average is the weights themselves."""
    average = torch.zeros(40, dtype=torch.float64)
    for k, unit in enumerate(torch.eye(40, dtype=torch.float64)):
        update_ema([average], [unit], ema_decay(8 * k, 8, halflife_images=50.0, rampup_ratio=0.3))
    place = torch.arange(1, 41, dtype=torch.float64) / 40
    mean = (average * place).sum()
    expected = float((average * (place - mean) ** 2).sum().sqrt())
    assert ema_sigma_rel(40, 8, halflife_images=50.0, rampup_ratio=0.3) == pytest.approx(expected)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9999])
def test_a_skipped_step_leaves_the_averages_and_an_applied_one_moves_them(decay):
    generator = torch.Generator().manual_seed(0)
    average, weights = ([torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)] for _ in range(2))
    moved = [value.clone() for value in average]
    update_ema(moved, weights, decay)
    on_host, by_share = ({flag: [value.clone() for value in average] for flag in (True, False)} for _ in range(2))
    for flag in (True, False):
        expected = moved if flag else average
        update_ema_if(torch.tensor(flag), on_host[flag], weights, decay)
        assert all(map(torch.equal, on_host[flag], expected)), "on a CPU, the bits of an update, or none"
        _move_by(torch.tensor(flag), by_share[flag], weights, decay)
        for found, value in zip(by_share[flag], expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-6 if flag else 0, atol=1e-6 if flag else 0)


def test_the_averages_of_a_gpu_move_without_a_question_to_it():
    """A tensor on meta has no value to read."""
    average, weights = [torch.zeros(4, device="meta")], [torch.ones(4, device="meta", requires_grad=True)]
    update_ema_if(torch.ones((), dtype=torch.bool, device="meta"), average, weights, 0.5)
    assert average[0].is_meta
