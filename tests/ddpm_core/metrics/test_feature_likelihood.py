import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from ddpm_core.metrics import feature_likelihood
from ddpm_core.metrics.feature_likelihood import (
    SMALLEST_VARIANCE,
    Mixture,
    fit_mixture,
    generalisation_gap,
    normalisation,
)


def vectors(seed: int, count: int, dim: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_scipy(features: torch.Tensor, centres: torch.Tensor, variances: torch.Tensor) -> np.ndarray:
    """log of the mean of multivariate normal densities, over the dimension."""
    logs = [
        stats.multivariate_normal(centre.numpy(), float(v) * np.eye(len(centre))).logpdf(features.numpy())
        for centre, v in zip(centres, variances, strict=True)
    ]
    return (logsumexp(np.array(logs), axis=0) - math.log(len(centres))) / features.shape[1]


def test_the_density_is_scipys(monkeypatch):
    features, centres = vectors(0, 20, 4), vectors(1, 7, 4)
    mixture = Mixture(centres=centres, variances=torch.linspace(0.2, 3, 7).double())
    expected = by_scipy(features, centres, mixture.variances)
    np.testing.assert_allclose(mixture.log_likelihood(features).numpy(), expected, rtol=1e-10)
    monkeypatch.setattr(feature_likelihood, "_ROWS", 3)
    np.testing.assert_allclose(mixture.log_likelihood(features).numpy(), expected, rtol=1e-10)


def test_the_density_integrates_to_1():
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    mixture = Mixture(centres=vectors(1, 5, 1), variances=torch.tensor([0.1, 0.5, 1.0, 2.0, 0.3]).double())
    assert float(torch.trapezoid(mixture.log_likelihood(grid).exp(), grid[:, 0])) == pytest.approx(1, abs=1e-9)


def test_one_component_has_the_mean_square_as_its_variance():
    training, centre = vectors(0, 50, 3), torch.tensor([[0.5, -0.2, 0.1]]).double()
    found = fit_mixture(centre, training)
    expected = float(((training - centre) ** 2).sum(1).mean() / 3)
    assert float(found.mixture.variances) == pytest.approx(expected, rel=1e-9)
    entropy_form = -0.5 * (math.log(2 * math.pi * expected) + 1)
    assert found.log_likelihoods[-1] == pytest.approx(entropy_form, rel=1e-9)


def test_no_step_lowers_the_likelihood_and_the_last_is_that_of_the_mixture(monkeypatch):
    monkeypatch.setattr(feature_likelihood, "_ROWS", 64)
    samples, training = vectors(0, 40, 6), vectors(1, 150, 6)
    samples[:5] = training[:5]  # five copies, at the floor
    found = fit_mixture(samples, training, tolerance=0.0)
    steps = np.diff(found.log_likelihoods)
    assert len(steps) > 5
    assert steps.min() > -1e-12
    assert found.log_likelihoods[-1] == pytest.approx(float(found.mixture.log_likelihood(training).mean()), rel=1e-12)


def test_the_fit_is_a_maximum_by_its_gradient():
    """Second derivation: autograd of the mean log-likelihood by log v_j, 0 above the floor and below 0 at it."""
    samples, training = vectors(0, 12, 4), vectors(1, 200, 4)
    samples[0] = training[0]
    fitted = fit_mixture(samples, training, steps=5000, tolerance=1e-13).mixture
    logs = fitted.variances.log().requires_grad_()
    Mixture(centres=samples, variances=logs.exp()).log_likelihood(training).mean().backward()
    free = fitted.variances > SMALLEST_VARIANCE
    assert float(logs.grad[free].abs().max()) < 1e-5
    assert bool((logs.grad[~free] <= 1e-9).all())


def test_no_random_change_of_the_variances_is_better():
    samples, training = vectors(0, 12, 4), vectors(1, 200, 4)
    fitted = fit_mixture(samples, training, steps=5000, tolerance=1e-13).mixture
    best = float(fitted.log_likelihood(training).mean())
    for seed in range(20):
        changed = fitted.variances * (0.05 * vectors(seed, 12, 1)[:, 0]).exp()
        assert float(Mixture(centres=samples, variances=changed).log_likelihood(training).mean()) <= best + 1e-9


def test_a_component_that_no_image_chooses_keeps_its_variance():
    samples = torch.cat((vectors(0, 5, 3), torch.full((1, 3), 1e4).double()))
    found = fit_mixture(samples, vectors(1, 60, 3))
    assert bool(torch.isfinite(found.mixture.variances).all())
    assert math.isfinite(found.log_likelihoods[-1])


def test_copies_of_training_images_have_a_gap_and_honest_samples_hardly_one():
    """A network that stores 30 of 300 training images against one that draws from the data; both sides N(0, I)."""
    training, held_out = vectors(1, 300, 8), vectors(2, 300, 8)
    scale = normalisation(training)

    def gap(samples: torch.Tensor):
        mixture = fit_mixture(scale(samples), scale(training)).mixture
        return generalisation_gap(mixture.log_likelihood(scale(training)), mixture.log_likelihood(scale(held_out)))

    honest, copied = gap(vectors(3, 300, 8)), gap(torch.cat((training[:150], vectors(4, 150, 8))))
    assert abs(honest.value) < 5 * honest.standard_error
    assert copied.value > 10 * copied.standard_error > 0
    assert copied.value > 10 * abs(honest.value)


def test_features_are_normalised_by_the_training_images():
    training = 3 * vectors(0, 100, 4) + 7
    training[:, 2] = 5.0
    scale = normalisation(training)
    seen = scale(training.float())
    assert seen.shape == (100, 3)
    torch.testing.assert_close(seen.mean(0), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(seen.std(0), torch.ones(3).double(), rtol=1e-6, atol=0)


def test_the_gaps_error_is_that_of_two_means():
    seen, unseen = torch.tensor([1.0, 2, 4]).double(), torch.tensor([0.5, 0.1]).double()
    found = generalisation_gap(seen, unseen)
    assert found.value == pytest.approx(7 / 3 - 0.3)
    assert found.standard_error == pytest.approx(math.hypot(stats.sem(seen.numpy()), stats.sem(unseen.numpy())))


def test_nothing_to_fit_is_refused():
    with pytest.raises(ValueError, match=r"a fit needs features on both sides; got \(0, 3\) and \(5, 3\)"):
        fit_mixture(vectors(0, 0, 3), vectors(1, 5, 3))
    with pytest.raises(ValueError, match=r"got \(5, 0\) and \(5, 0\)"):
        fit_mixture(vectors(0, 5, 0), vectors(1, 5, 0))
