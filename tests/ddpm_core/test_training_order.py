"""The order of images, the draws of each slot and the labels left out."""

import math

import pytest
import torch
from scipy import stats

from ddpm_core.rng import permutation
from ddpm_core.training_order import TrainingOrder, drop_labels, training_noise


def slots(*, first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_each_epoch_visits_every_image_once(size):
    order = TrainingOrder(5, size)
    for epoch in range(3):
        assert order(slots(first=epoch * size, count=size)).sort().values.tolist() == list(range(size))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(TrainingOrder(seed, 50)(slots(first=50 * e, count=50)).tolist()) for seed in (0, 1) for e in (0, 1)}
    assert len(orders) == 4


def test_an_order_is_the_permutation_of_its_epoch():
    order = TrainingOrder(5, 30)(slots(first=60, count=30))
    assert torch.equal(order, permutation(5, 30, 2))


@pytest.mark.parametrize("first", [0, 1, 9, 10, 123_456])
def test_any_worker_can_start_anywhere(first):
    fresh, experienced = TrainingOrder(1, 10), TrainingOrder(1, 10)
    for start in range(0, 40, 4):
        experienced(slots(first=start, count=4))
    assert torch.equal(fresh(slots(first=first, count=8)), experienced(slots(first=first, count=8)))


def test_a_batch_may_span_several_epochs():
    whole = TrainingOrder(1, 4)(slots(first=2, count=15))
    single = [int(TrainingOrder(1, 4)(torch.tensor([slot]))) for slot in range(2, 17)]
    assert whole.tolist() == single


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_shares_of_all_workers_make_one_workers_batch(world_size):
    batch = slots(first=17, count=24)
    together = torch.empty_like(batch)
    for rank in range(world_size):
        together[rank::world_size] = TrainingOrder(3, 10)(batch[rank::world_size])
    assert torch.equal(together, TrainingOrder(3, 10)(batch))


@pytest.mark.parametrize("size", [0, -3])
def test_an_order_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match=f"dataset_size must be at least 1; got {size}"):
        TrainingOrder(0, size)


@pytest.mark.parametrize("world_size", [2, 3])
def test_interleaved_workers_draw_the_noise_of_one(world_size):
    batch = slots(first=2**33, count=12)
    whole = training_noise(7, batch, 1000, (3, 4, 4))
    for rank in range(world_size):
        share = training_noise(7, batch[rank::world_size], 1000, (3, 4, 4))
        for own, one in zip(share, whole, strict=True):
            assert torch.equal(own, one[rank::world_size])


def test_noise_has_the_distributions_of_algorithm_1():
    noise = training_noise(0, slots(first=0, count=4000), 50, (1, 2, 2))
    counts = noise.t.bincount(minlength=50).numpy()
    assert len(counts) == 50
    assert stats.chisquare(counts).pvalue > 1e-4
    assert stats.kstest(noise.eps.flatten().double().numpy(), "norm").pvalue > 1e-4
    assert sorted(noise.flip.unique().tolist()) == [0, 1]
    assert abs(float(noise.flip.double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(4000)


def test_the_draws_of_a_slot_do_not_depend_on_each_other():
    noise = training_noise(0, slots(first=0, count=4000), 50, (1, 1, 1))
    eps = noise.eps.flatten().double()
    table = torch.stack([noise.t.double(), eps, eps.abs(), noise.flip.double()])
    assert float((torch.corrcoef(table) - torch.eye(4)).abs().max()) < 4 / math.sqrt(4000)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_labels_are_dropped_with_their_probability(probability):
    labels = torch.arange(20_000) % 7
    after = drop_labels(3, slots(first=5, count=20_000), labels, 7, probability)
    dropped = after == 7
    assert torch.equal(after[~dropped], labels[~dropped])
    spread = math.sqrt(probability * (1 - probability) / 20_000)
    assert abs(float(dropped.double().mean()) - probability) <= 4 * spread


def test_a_slots_label_is_dropped_by_every_worker_alike():
    labels = torch.arange(100) % 7
    whole = drop_labels(3, slots(first=0, count=100), labels, 7, 0.5)
    shares = [drop_labels(3, torch.arange(rank, 100, 3), labels[rank::3], 7, 0.5) for rank in range(3)]
    assert all(torch.equal(whole[rank::3], share) for rank, share in enumerate(shares))
    assert not torch.equal(whole, drop_labels(4, slots(first=0, count=100), labels, 7, 0.5))
