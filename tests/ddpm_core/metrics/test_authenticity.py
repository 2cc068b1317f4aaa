import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from ddpm_core.metrics.authenticity import authentic_percentage
from ddpm_core.metrics.neighbours import nearest_neighbours


def vectors(seed: int, count: int, dim: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def percentage(training: torch.Tensor, drawn: torch.Tensor):
    centre, own = training.mean(0), torch.arange(len(training))
    to_training = nearest_neighbours(drawn, [training], 1, centre=centre)
    within = nearest_neighbours(training, [training], 1, centre=centre, own_rows=own)
    return authentic_percentage(to_training, within.squared_distances[:, 0])


def test_the_percentage_equals_its_definition():
    training, drawn = vectors(0, 90, 5), 0.8 * vectors(1, 70, 5)
    among = cdist(training, training)
    np.fill_diagonal(among, np.inf)
    across = cdist(drawn, training)
    hits = [across[i].min() > among[across[i].argmin()].min() for i in range(70)]
    found = percentage(training, drawn)
    assert found.value == pytest.approx(100 * np.mean(hits))
    assert found.standard_error == pytest.approx(100 * np.sqrt(np.mean(hits) * (1 - np.mean(hits)) / 70))


def test_copies_are_not_authentic_and_strangers_are():
    training = vectors(0, 50, 5)
    assert percentage(training, training[:20]).value == 0
    assert percentage(training, training[:20] + 1e-6).value == 0
    assert percentage(training, vectors(1, 20, 5) + 100).value == 100


def test_a_training_image_that_occurs_twice_makes_its_near_copies_authentic():
    training = vectors(0, 50, 5)
    training[1] = training[0]
    assert percentage(training, training[:1] + 1e-6).value == 100
    assert percentage(training, training[:1]).value == 0


def test_about_half_are_authentic_if_both_sides_have_one_distribution():
    """Exactly half for a network that draws from the data: in one dimension the figure's mean is known by simulation
    on sorted numbers, here computed a second way."""
    generator, expected, found = np.random.default_rng(0), [], []
    for seed in range(200):
        real, drawn = np.sort(generator.random(40)), generator.random(40)
        gaps = np.diff(real)
        own = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
        place = np.abs(drawn[:, None] - real)
        expected.append(100 * np.mean(place.min(1) > own[place.argmin(1)]))
        training, samples = vectors(seed, 40, 1), vectors(1000 + seed, 40, 1)
        uniform = torch.distributions.Normal(0.0, 1.0)
        found.append(percentage(uniform.cdf(training), uniform.cdf(samples)).value)
    error = np.hypot(np.std(expected), np.std(found)) / np.sqrt(200)
    assert abs(np.mean(expected) - np.mean(found)) < 4 * error
    assert 25 < np.mean(found) < 60
