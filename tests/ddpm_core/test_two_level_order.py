"""The order for data sets beyond memory: every image once an epoch, a window at a time, from anywhere."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ddpm_core.training_order import TwoLevelOrder

SIZES = (5, 3, 8, 1, 6, 4, 7, 2)
SIZE = sum(SIZES)


def epoch(order: TwoLevelOrder, number: int, size: int = SIZE) -> list[int]:
    return order(torch.arange(number * size, (number + 1) * size)).tolist()


def blocks(images: list[int]) -> list[int]:
    """The block of each image, by counting."""
    of = [number for number, size in enumerate(SIZES) for _ in range(size)]
    return [of[image] for image in images]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 3))
def test_each_epoch_visits_every_image_once(sizes: list[int], window: int, number: int) -> None:
    total = sum(sizes)
    assert sorted(epoch(TwoLevelOrder(3, sizes, window), number, total)) == list(range(total))


def test_no_more_than_a_window_is_needed_at_a_time() -> None:
    """Cut wherever no block lies on both sides: no piece is larger than a window and the file that completes it."""
    order = blocks(epoch(TwoLevelOrder(1, SIZES, 10), 0))
    cuts = [p for p in range(SIZE + 1) if not set(order[:p]) & set(order[p:])]
    pieces = [stop - start for start, stop in pairwise(cuts)]
    assert sum(pieces) == SIZE
    assert max(pieces) < 10 + max(SIZES)
    assert max(pieces) > max(SIZES), "images of several files are mixed"


@pytest.mark.parametrize("first", [0, 7, 35, 36, 40, 36 * 1000 + 11])
def test_any_worker_can_start_anywhere(first: int) -> None:
    experienced = TwoLevelOrder(1, SIZES, 10)
    for start in range(0, 200, 7):
        experienced(torch.arange(start, start + 7))
    slots = torch.arange(first, first + 50)
    assert torch.equal(TwoLevelOrder(1, SIZES, 10)(slots), experienced(slots))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_the_shares_of_all_workers_make_one_workers_batch(world_size: int) -> None:
    batch = torch.arange(20, 60)
    together = torch.empty_like(batch)
    for rank in range(world_size):
        together[rank::world_size] = TwoLevelOrder(3, SIZES, 9)(batch[rank::world_size])
    assert torch.equal(together, TwoLevelOrder(3, SIZES, 9)(batch))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(epoch(TwoLevelOrder(seed, SIZES, 10), number)) for seed in (0, 1) for number in (0, 1)}
    assert len(orders) == 4


def test_every_image_may_come_first() -> None:
    """Over many epochs the first image is uniform: a block comes first as often as any, an image within as its size."""
    order = TwoLevelOrder(8, [4] * 5, 4)
    firsts = order(torch.arange(2000) * 20)
    observed = torch.bincount(firsts, minlength=20).tolist()
    assert stats.chisquare(observed).pvalue > 1e-3


def test_a_window_of_everything_mixes_everything() -> None:
    order = epoch(TwoLevelOrder(2, SIZES, SIZE), 0)
    assert len({order.index(image) // 9 for image in range(5)}) > 1


@pytest.mark.parametrize(("sizes", "window"), [((), 1), ((3, 0), 1), ((3, -1), 1), ((3,), 0), ((3,), -2)])
def test_nothing_to_order(sizes: tuple[int, ...], window: int) -> None:
    with pytest.raises(ValueError, match=r"must be at least"):
        TwoLevelOrder(0, sizes, window)
