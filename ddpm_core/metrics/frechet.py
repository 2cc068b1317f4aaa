"""The Fréchet distance between two Gaussians fitted to features, Heusel et al. 2017, in float64."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

# The rounding error of an eigenvalue, relative to the largest; and the share of the trace that rounding may cost.
_ROUNDING = 10 * torch.finfo(torch.float64).eps
_TOLERANCE = 1e-9


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
    def empty(cls, dim: int, device: torch.device | None = None) -> "FeatureStats":
        """Return the statistics of zero vectors, on the device of the features that will be added."""
        zeros = torch.zeros(dim, dtype=torch.float64, device=device)
        return cls(count=0, total=zeros, outer=torch.zeros(dim, dim, dtype=torch.float64, device=device))

    @classmethod
    def of_moments(cls, count: int, mean: Float64[Tensor, " d"], covariance: Float64[Tensor, "d d"]) -> "FeatureStats":
        """Return the statistics of `count` vectors, at least 2, with this mean and this unbiased covariance."""
        outer = (count - 1) * covariance + count * torch.outer(mean, mean)
        return cls(count=count, total=count * mean, outer=outer)

    def update(self, features: Float[Tensor, "n d"]) -> "FeatureStats":
        """Return the statistics with these vectors added."""
        wide = features.double()
        return FeatureStats(
            count=self.count + len(wide), total=self.total + wide.sum(0), outer=self.outer + wide.T @ wide
        )

    def merge(self, other: "FeatureStats") -> "FeatureStats":
        """Return the statistics of both parts together."""
        return FeatureStats(
            count=self.count + other.count, total=self.total + other.total, outer=self.outer + other.outer
        )

    def without(self, part: "FeatureStats") -> "FeatureStats":
        """Return the statistics with a part taken away that was added before."""
        return FeatureStats(count=self.count - part.count, total=self.total - part.total, outer=self.outer - part.outer)

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

    With factors C = F F^T the trace of the square root is the sum of the square roots of the eigenvalues of
    F_a^T C_b F_a, which is symmetric with eigenvalues >= 0. If many of them are near 0, as for covariances of less than
    full rank, it is computed as the sum of the singular values of F_a^T F_b, which keeps their digits.

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
    covariance_a, covariance_b = a.covariance, b.covariance
    cross = _trace_of_root(covariance_a, covariance_b)
    distance = ((a.mean - b.mean) ** 2).sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(float(distance), 0.0)


def _trace_of_root(a: Float64[Tensor, "d d"], b: Float64[Tensor, "d d"]) -> Float64[Tensor, ""]:
    """tr((a b)^(1/2)) of two covariances."""
    lower, failed = torch.linalg.cholesky_ex(a)
    if not int(failed):
        product = lower.T @ b @ lower
        values = torch.linalg.eigvalsh((product + product.T) / 2)
        # An error delta of a value costs its root delta / (2 root): negligible for large values, but about 1e-8 for
        # each value that is rounding alone.
        delta = _ROUNDING * values[-1]
        total = values.clamp(min=0).sqrt().sum()
        if float((delta / (2 * values.clamp(min=float(delta)).sqrt())).sum()) < _TOLERANCE * float(total):
            return total
    return torch.linalg.svdvals(_factor(a).T @ _factor(b)).sum()


def _factor(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """F with F F^T = covariance, from its eigenvectors; eigenvalues within rounding of 0 count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    floor = len(values) * torch.finfo(values.dtype).eps * values[-1]
    return vectors * torch.where(values > floor, values, 0).sqrt()
