import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_core.metrics.blocks import random_blocks, random_groups, random_rows
from ddpm_core.rng import Stream, permutation


@given(seed=st.integers(0, 2**64 - 1), count=st.integers(1, 300), data=st.data())
def test_blocks_are_disjoint_and_of_one_size(seed, count, data):
    size = data.draw(st.integers(1, count))
    blocks = random_blocks(seed, count, 0, size)
    assert [len(block) for block in blocks] == [size] * (count // size)
    rows = torch.cat(blocks).tolist()
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))


@given(count=st.integers(1, 300), data=st.data())
def test_groups_hold_every_row_once(count, data):
    number = data.draw(st.integers(1, count))
    groups = random_groups(3, count, 1, number)
    assert len(groups) == number
    assert sorted(torch.cat(groups).tolist()) == list(range(count))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_sides_of_one_length_have_different_orders():
    assert not torch.equal(random_rows(0, 100, 0), random_rows(0, 100, 1))
    assert torch.equal(random_rows(0, 100, 1), random_rows(0, 100, 1))


def test_the_order_is_no_epoch_of_training():
    for epoch in (0, 1):
        assert not torch.equal(random_rows(7, 100, epoch), permutation(7, 100, epoch, stream=Stream.PERMUTATION))


def test_blocks_of_a_class_ordered_set_hold_every_class():
    """Contiguous blocks of 100 from ten classes in order would hold one class each."""
    classes = torch.arange(1000) // 100
    for block in random_blocks(0, 1000, 0, 100):
        assert len(classes[block].unique()) == 10


def test_blocks_and_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"size must lie in 1\.\.5; got 6"):
        random_blocks(0, 5, 0, 6)
    with pytest.raises(ValueError, match=r"groups must lie in 1\.\.5; got 6"):
        random_groups(0, 5, 0, 6)
