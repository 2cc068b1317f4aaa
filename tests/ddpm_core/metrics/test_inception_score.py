import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_core.metrics.inception_score import ClassStats, inception_score, score_over_splits, split_bounds


def logits(seed: int, count: int, classes: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)


def stats_of(scores: torch.Tensor) -> ClassStats:
    return ClassStats.empty(scores.shape[1]).update(scores)


def by_numpy(probabilities: np.ndarray) -> float:
    """exp of the mean KL divergence of each image's probabilities from their mean, term by term."""
    marginal = probabilities.mean(0, keepdims=True)
    return float(np.exp((probabilities * (np.log(probabilities) - np.log(marginal))).sum(1).mean()))


def test_the_score_equals_the_mean_of_the_divergences():
    scores = logits(0, 300, 7)
    assert inception_score(stats_of(scores)) == pytest.approx(by_numpy(scores.softmax(1).numpy()), rel=1e-12)


@pytest.mark.parametrize("classes", [1, 2, 10, 1008])
def test_certain_and_even_classes_give_their_number(classes):
    certain = torch.eye(classes).log()  # minus infinity beside 0
    assert inception_score(stats_of(certain.repeat(3, 1))) == pytest.approx(classes, rel=1e-12)


def test_images_that_are_all_alike_give_1():
    assert inception_score(stats_of(logits(0, 1, 10).repeat(50, 1))) == pytest.approx(1, abs=1e-12)
    assert inception_score(stats_of(torch.zeros(5, 10))) == 1


def test_two_kinds_of_images_have_a_closed_form():
    """Half have p = (a, 1 - a) and half the reverse: ln 2 less the entropy of a."""
    a = 0.8
    pair = torch.tensor([[a, 1 - a], [1 - a, a]]).log()
    expected = math.exp(math.log(2) + a * math.log(a) + (1 - a) * math.log(1 - a))
    assert inception_score(stats_of(pair.repeat(10, 1))) == pytest.approx(expected, rel=1e-6)


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_merged_parts_are_the_whole(sizes):
    scores = logits(1, sum(sizes), 4)
    merged = ClassStats.empty(4)
    for part in scores.split(sizes):
        merged = merged.merge(stats_of(part))
    assert merged.count == sum(sizes)
    assert inception_score(merged) == pytest.approx(inception_score(stats_of(scores)), rel=1e-12)


def test_float32_logits_far_apart_keep_their_digits():
    """A softmax in float32 would round the second class to 0, whose p log p is then lost or not a number."""
    scores = torch.tensor([[0.0, -120.0], [-5.0, 0.0]])
    p = np.exp(np.array([[0, -120], [-5, 0]], dtype=np.longdouble))
    assert inception_score(stats_of(scores)) == pytest.approx(by_numpy(p / p.sum(1, keepdims=True)), rel=1e-14)
    assert math.isfinite(inception_score(stats_of(10 * scores)))


def test_sums_stay_on_the_logits_device():
    meta = torch.device("meta")
    updated = ClassStats.empty(4, meta).update(torch.empty(10, 4, device=meta))
    assert (updated.count, updated.total.device, updated.negative_entropy.device) == (10, meta, meta)


@given(count=st.integers(1, 1000), data=st.data())
def test_splits_follow_one_another_and_hold_every_image(count, data):
    splits = data.draw(st.integers(1, count))
    bounds = split_bounds(count, splits)
    assert (len(bounds), bounds[0][0], bounds[-1][1]) == (splits, 0, count)
    assert all(stop == start for (_, stop), (start, _) in pairwise(bounds))
    assert all(stop > start for start, stop in bounds)


def test_scores_over_splits_are_those_of_the_original_code():
    """It cuts the array at i n // splits, and takes numpy's mean and its std, which divides by the number of splits."""
    scores = logits(2, 237, 5)
    p = scores.softmax(1).numpy()
    parts = [by_numpy(p[i * 237 // 10 : (i + 1) * 237 // 10]) for i in range(10)]
    found = score_over_splits([stats_of(scores[start:stop]) for start, stop in split_bounds(237)])
    assert found.mean == pytest.approx(np.mean(parts), rel=1e-12)
    assert found.std == pytest.approx(np.std(parts), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(parts, ddof=1) / math.sqrt(10), rel=1e-9)


def test_one_split_is_the_score_of_all_without_an_error():
    whole = stats_of(logits(2, 90, 5))
    found = score_over_splits([whole])
    assert (found.mean, found.std, found.standard_error) == (inception_score(whole), 0, None)


def test_what_has_no_score_is_refused():
    with pytest.raises(ValueError, match="an Inception score needs at least 1 image; got 0"):
        inception_score(ClassStats.empty(3))
    with pytest.raises(ValueError, match="class scores must be finite; their sums are not"):
        inception_score(stats_of(torch.tensor([[0.0, math.nan]])))
    with pytest.raises(ValueError, match="10 splits need at least 10 images; got 9"):
        split_bounds(9)
