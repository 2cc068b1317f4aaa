"""The Fréchet distance between two Gaussians fitted to features, Heusel et al. 2017, in float64."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureStats:
    """Sums over feature vectors, from which mean and covariance follow; statistics of disjoint parts add up.

    Attributes:
        count: Number of vectors.
        total: Their sum.
        outer: Sum of their outer products.
    """

    count: int
    total: Float64[Tensor, " d"]
    outer: Float64[Tensor, "d d"]

    @classmethod
    def empty(cls, dim: int) -> "FeatureStats":
        """Return the statistics of no vector at all."""
        zeros = torch.zeros(dim, dtype=torch.float64)
        return cls(count=0, total=zeros, outer=torch.zeros(dim, dim, dtype=torch.float64))

    def update(self, features: Float[Tensor, "n d"]) -> "FeatureStats":
        """Return the statistics with some more vectors added."""
        wide = features.double()
        return FeatureStats(
            count=self.count + len(wide), total=self.total + wide.sum(0), outer=self.outer + wide.T @ wide
        )

    def merge(self, other: "FeatureStats") -> "FeatureStats":
        """Return the statistics of both parts together."""
        return FeatureStats(
            count=self.count + other.count, total=self.total + other.total, outer=self.outer + other.outer
        )

    @property
    def mean(self) -> Float64[Tensor, " d"]:
        """The mean vector."""
        return self.total / self.count

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased covariance, divided by count - 1."""
        return (self.outer - self.count * torch.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(a: FeatureStats, b: FeatureStats) -> float:
    """|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in squared units of the features.

    The trace of the square root is the sum of the square roots of the eigenvalues of S C_b S with S = C_a^(1/2), a
    symmetric matrix with real eigenvalues >= 0, also where the covariances are of less than full rank; rounding below
    0 is cut off.

    Raises:
        ValueError: If the dimensions differ, a side has fewer than 2 vectors, or a value is not finite.
    """
    if len(a.total) != len(b.total):
        raise ValueError(f"features must have the same dimension; got {len(a.total)} and {len(b.total)}")
    for side in (a, b):
        if side.count < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors; got {side.count}")
        if not bool(torch.isfinite(side.outer).all()):
            raise ValueError("features must be finite; their sums are not")
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root @ b.covariance @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = ((a.mean - b.mean) ** 2).sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float(distance), 0.0)
