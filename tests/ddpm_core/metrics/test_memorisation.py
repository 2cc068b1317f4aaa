import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import betabinom

from ddpm_core.metrics.memorisation import memorised_share, nearest_ratios
from ddpm_core.metrics.neighbours import Neighbours, nearest_neighbours


def vectors(seed: int, count: int, dim: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(images: torch.Tensor, training: torch.Tensor) -> Neighbours:
    return nearest_neighbours(images, [training], 5, centre=training.mean(0))


def ratios(images: torch.Tensor, training: torch.Tensor) -> torch.Tensor:
    return nearest_ratios(near(images, training))


def test_a_ratio_is_the_nearest_distance_over_the_mean_of_the_nearest():
    training, drawn = vectors(0, 90, 5), vectors(1, 70, 5)
    nearest = np.sort(cdist(drawn, training))[:, :5]
    np.testing.assert_allclose(ratios(drawn, training), nearest[:, 0] / nearest.mean(1), rtol=1e-12)


def test_a_copy_has_ratio_zero_and_an_image_among_equals_has_ratio_one():
    training = torch.cat((vectors(0, 20, 3), torch.full((5, 3), 50.0, dtype=torch.float64)))
    assert ratios(training, training).tolist() == [0.0] * 25
    assert ratios(training[-1:] + 1e-3, training).item() == pytest.approx(1)


def test_one_neighbour_gives_no_ratio():
    with pytest.raises(ValueError, match="a ratio needs at least 2 neighbours; got 1"):
        nearest_ratios(Neighbours(torch.ones(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.int64)))


def test_the_share_equals_its_definition():
    held_out, samples = vectors(0, 399, 1)[:, 0], vectors(1, 250, 1)[:, 0] - 1
    found = memorised_share(samples, held_out)
    limit = np.sort(held_out.numpy())[3]  # 4 / 400 is one percent
    share = np.mean(samples.numpy() <= limit)
    assert 0 < share < 1
    assert (found.share.value, found.limit, found.expected) == (pytest.approx(share), limit, 0.01)
    assert found.share.standard_error == pytest.approx(np.sqrt(share * (1 - share) / 250 + 0.01 * 0.99 / 399))


@pytest.mark.parametrize(("count", "expected"), [(1, 1 / 2), (9, 1 / 10), (99, 1 / 100), (198, 1 / 199), (199, 0.01)])
def test_few_held_out_images_raise_the_expected_share(count: int, expected: float):
    assert memorised_share(numbers(0, 0, 0), numbers(*range(count))).expected == pytest.approx(expected)


def test_held_out_images_that_tie_at_the_limit_all_count():
    """As in a data set whose held-out images also occur among the training images."""
    found = memorised_share(numbers(0, 0, 0.5, 1), numbers(*[0] * 30, *[1] * 70))
    assert (found.share.value, found.expected, found.limit) == (0.5, 30 / 101, 0.0)


def test_there_is_no_limit_without_held_out_images():
    with pytest.raises(ValueError, match="the limit needs at least 1 held-out image; got 0"):
        memorised_share(numbers(1, 1, 1), numbers())


def shares(count: int, held_out: int, training: int, runs: int) -> list:
    """Those of independent draws from one distribution, for one set of training images."""
    known = vectors(0, training, 3)
    drawn = [ratios(vectors(1 + run, count + held_out, 3), known) for run in range(runs)]
    return [memorised_share(part[:count], part[count:], one_in=20) for part in drawn]


def test_honest_samples_stay_at_the_expected_level_with_the_stated_error():
    found = shares(80, 99, 60, 600)
    values, truth = np.array([each.share.value for each in found]), betabinom(80, 5, 95)
    assert {each.expected for each in found} == {0.05}
    assert abs(values.mean() - truth.mean() / 80) < 4 * truth.std() / 80 / np.sqrt(600)
    assert values.std() == pytest.approx(truth.std() / 80, rel=0.12)
    stated = np.sqrt(np.mean([each.share.standard_error**2 for each in found]))
    assert stated == pytest.approx(truth.std() / 80, rel=0.05)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_copies_raise_the_share_by_their_number(noise: float):
    training, held_out, honest = vectors(0, 300, 6), vectors(1, 999, 6), vectors(2, 700, 6)
    copies = training + noise * vectors(3, 300, 6)
    limit = ratios(held_out, training)
    alone = memorised_share(ratios(honest, training), limit)
    mixed = memorised_share(ratios(torch.cat((honest, copies)), training), limit)
    assert abs(alone.share.value - 0.01) < 4 * alone.share.standard_error
    assert mixed.share.value == pytest.approx(0.3 + 0.7 * alone.share.value)


def test_samples_near_all_training_images_are_no_copies():
    """Samples of half the spread: by distance alone, many would count although they are like no one training image."""
    training, held_out, smooth = vectors(0, 1000, 20), vectors(1, 999, 20), 0.5 * vectors(2, 999, 20)
    by_distance = memorised_share(*(near(part, training).squared_distances[:, 0] for part in (smooth, held_out)))
    by_ratio = memorised_share(ratios(smooth, training), ratios(held_out, training))
    assert by_distance.share.value > 0.2
    assert abs(by_ratio.share.value - by_ratio.expected) < 4 * by_ratio.share.standard_error
