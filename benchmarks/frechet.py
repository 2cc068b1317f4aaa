"""The Fréchet distance at d = 2048 beside scipy's matrix root, in one run: `python benchmarks/frechet.py`."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import sqrtm

from ddpm_core.metrics.frechet import FeatureStats, frechet_distance

DIMENSIONS, VECTORS, REPEATS = 2048, 6000, 3


def features(seed: int) -> FeatureStats:
    """Statistics of correlated normal vectors."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(DIMENSIONS, DIMENSIONS, generator=generator, dtype=torch.float64) / DIMENSIONS**0.5
    vectors = torch.randn(VECTORS, DIMENSIONS, generator=generator, dtype=torch.float64) @ mixing
    return FeatureStats.empty(DIMENSIONS).update(vectors + 0.1 * seed)


def by_scipy(a: FeatureStats, b: FeatureStats) -> float:
    """The usual way: the matrix root of the product of the covariances."""
    cov_a, cov_b = a.covariance.numpy(), b.covariance.numpy()
    root = np.trace(sqrtm(cov_a @ cov_b)).real
    return float(((a.mean - b.mean) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root)


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """The result and the seconds it took."""
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def main() -> None:
    """Print the times, their ratio and how far the two figures are apart."""
    a, b = features(0), features(1)
    ours, theirs = [], []
    for _ in range(REPEATS):
        found, seconds = timed(lambda: frechet_distance(a, b))
        ours.append(seconds)
        expected, seconds = timed(lambda: by_scipy(a, b))
        theirs.append(seconds)
    print(f"ours {statistics.median(ours):.2f} s, scipy {statistics.median(theirs):.2f} s")
    print(f"ratio {statistics.median(theirs) / statistics.median(ours):.1f}")
    print(f"relative difference {abs(found / expected - 1):.1e}")


if __name__ == "__main__":
    main()
