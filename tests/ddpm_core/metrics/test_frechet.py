import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from ddpm_core.metrics.frechet import FeatureStats, frechet_distance


def features(seed: int, count: int, dim: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return scale * torch.randn(count, dim, generator=generator, dtype=torch.float64) @ mixing + shift


def stats_of(vectors: torch.Tensor) -> FeatureStats:
    return FeatureStats.empty(vectors.shape[1]).update(vectors)


def stats_with(mean: np.ndarray, covariance: np.ndarray) -> FeatureStats:
    """Statistics of two million vectors that have this mean and unbiased covariance."""
    count = 2_000_000
    outer = (count - 1) * covariance + count * np.outer(mean, mean)
    return FeatureStats(count=count, total=torch.from_numpy(count * mean), outer=torch.from_numpy(outer))


def by_scipy(a: torch.Tensor, b: torch.Tensor) -> float:
    mean_a, mean_b = a.mean(0).numpy(), b.mean(0).numpy()
    cov_a, cov_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    root = sqrtm(cov_a @ cov_b)
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root).real)


@pytest.mark.parametrize("size", [1, 7, 50, 200])
def test_merged_shards_have_numpys_mean_and_covariance(size):
    vectors = features(0, 200, 5, shift=3)
    merged = FeatureStats.empty(5)
    for shard in vectors.split(size):
        merged = merged.merge(stats_of(shard))
    assert merged.count == 200
    np.testing.assert_allclose(merged.mean.numpy(), vectors.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.covariance.numpy(), np.cov(vectors.numpy(), rowvar=False), rtol=1e-10)


def test_updates_add_up_like_merges():
    vectors = features(1, 60, 4)
    updated = stats_of(vectors[:10]).update(vectors[10:])
    merged = stats_of(vectors[:10]).merge(stats_of(vectors[10:]))
    assert updated.count == merged.count == 60
    assert torch.equal(updated.total, merged.total)
    assert torch.equal(updated.outer, merged.outer)


def test_sums_stay_on_the_features_device():
    meta = torch.device("meta")
    updated = FeatureStats.empty(4, meta).update(torch.empty(10, 4, device=meta))
    assert (updated.count, updated.total.device, updated.outer.device) == (10, meta, meta)


def test_float32_features_are_summed_in_float64():
    vectors = (features(0, 3000, 3) + 100).float()
    expected = np.cov(vectors.double().numpy(), rowvar=False)
    np.testing.assert_allclose(stats_of(vectors).covariance.numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize("dim", [1, 2, 10, 40])
def test_the_distance_equals_scipys_matrix_root(dim):
    a, b = features(0, 200, dim), features(1, 150, dim, scale=1.5, shift=0.5)
    assert frechet_distance(stats_of(a), stats_of(b)) == pytest.approx(
        by_scipy(a, b) if dim > 1 else float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2), rel=1e-9
    )


def test_diagonal_gaussians_have_a_closed_form():
    """sum (m_1 - m_2)^2 + (s_1 - s_2)^2."""
    mean_a, mean_b = np.array([0.0, 1, -2, 5]), np.array([0.5, 1, -2.5, 3])
    std_a, std_b = np.array([1.0, 2, 0.1, 3]), np.array([2.0, 0.5, 0.1, 0])
    expected = ((mean_a - mean_b) ** 2 + (std_a - std_b) ** 2).sum()
    found = frechet_distance(stats_with(mean_a, np.diag(std_a**2)), stats_with(mean_b, np.diag(std_b**2)))
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_shift_costs_its_square():
    a = features(0, 100, 6)
    assert frechet_distance(stats_of(a), stats_of(a + 0.5)) == pytest.approx(6 * 0.25, rel=1e-9)


def test_a_scale_costs_the_trace():
    """C_b = 4 C_a: tr(C_a + 4 C_a - 2 * 2 C_a) = tr(C_a)."""
    centred = features(0, 100, 6)
    centred = centred - centred.mean(0)
    trace = np.trace(np.cov(centred.numpy(), rowvar=False))
    assert frechet_distance(stats_of(centred), stats_of(2 * centred)) == pytest.approx(trace, rel=1e-9)


def test_a_rotation_keeps_the_distance():
    a, b = features(0, 100, 6), features(1, 100, 6)
    rotation, _ = torch.linalg.qr(features(2, 6, 6))
    rotated = frechet_distance(stats_of(a @ rotation), stats_of(b @ rotation))
    assert rotated == pytest.approx(frechet_distance(stats_of(a), stats_of(b)), rel=1e-9)


def test_fewer_vectors_than_dimensions_have_a_distance():
    """Rank 4 in 12 dimensions; the nuclear norm of the two centred tables is the trace, without any matrix root.

    With C = X^T X / (n - 1), tr (C_a C_b)^(1/2) is the sum of the singular values of X_a X_b^T,
    over the root of both n - 1.
    """
    a, b = features(0, 5, 12), features(1, 6, 12)
    centred_a, centred_b = (a - a.mean(0)).numpy(), (b - b.mean(0)).numpy()
    cross = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum() / math.sqrt(4 * 5)
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = float(shift) + (centred_a**2).sum() / 4 + (centred_b**2).sum() / 5 - 2 * cross
    assert frechet_distance(stats_of(a), stats_of(b)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("count_a", "count_b"), [(40, 60), (40, 900), (900, 40), (900, 800)])
def test_many_dimensions_of_any_rank_keep_their_digits(count_a, count_b):
    """300 dimensions, ranks below and at that: against the singular values of the centred tables."""
    a, b = features(0, count_a, 300), features(1, count_b, 300, scale=1.1)
    centred_a, centred_b = (a - a.mean(0)).numpy(), (b - b.mean(0)).numpy()
    cross = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    cross /= math.sqrt((count_a - 1) * (count_b - 1))
    spread = (centred_a**2).sum() / (count_a - 1) + (centred_b**2).sum() / (count_b - 1)
    expected = float(((a.mean(0) - b.mean(0)) ** 2).sum()) + spread - 2 * cross
    assert frechet_distance(stats_of(a), stats_of(b)) == pytest.approx(expected, rel=1e-7)


def test_the_distance_is_symmetric():
    a, b = stats_of(features(0, 100, 8)), stats_of(features(1, 90, 8, shift=1))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


@pytest.mark.parametrize("count", [3, 100])
def test_the_same_features_are_no_distance_apart(count):
    same = stats_of(features(0, count, 8))
    assert 0 <= frechet_distance(same, same) < 1e-5


def test_different_dimensions_are_refused():
    with pytest.raises(ValueError, match="features must have the same dimension; got 3 and 4"):
        frechet_distance(stats_of(features(0, 9, 3)), stats_of(features(0, 9, 4)))


@pytest.mark.parametrize("count", [0, 1])
def test_a_side_without_covariance_is_refused(count):
    full, thin = stats_of(features(0, 9, 3)), stats_of(features(0, count, 3))
    for sides in ((full, thin), (thin, full)):
        with pytest.raises(ValueError, match=f"a covariance needs at least 2 feature vectors; got {count}"):
            frechet_distance(*sides)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(value):
    broken = features(0, 9, 3)
    broken[4, 1] = value
    for sides in ((broken, features(1, 9, 3)), (features(1, 9, 3), broken)):
        with pytest.raises(ValueError, match="features must be finite; their sums are not"):
            frechet_distance(*map(stats_of, sides))
