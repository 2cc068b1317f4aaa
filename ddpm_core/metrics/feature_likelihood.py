"""The likelihood of features under a mixture around the samples' features (FLD), Jiralerspong et al. 2023.

p(x) = (1/m) sum_j N(x; s_j, v_j I): one isotropic Gaussian around the features s_j of each sample, all of one weight.
The variances v_j are fitted to training images. A sample that copies a training image gets a small variance, which
makes training images likely and held-out images unlikely: the gap between both shows memorisation.

The authors' code differs in the fit, which follows the gradient by Adam, 50 epochs at a learning rate of 0.5, from
v_j = (the squared distance to the nearest training image + 1e-3) / d, with v_j between e^-40 and e^20 and a further
component around the training mean that is left out afterwards. Here EM climbs from the same start without a step size,
to within a tolerance, with v_j at least 1e-4 and no further component. That code also normalises by the held-out
features, here the training features do it, so that held-out images have no part in the fit. It prints the gap as
100 (held-out - training).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ddpm_core.metrics.distances import distance_table
from ddpm_core.metrics.estimate import Estimate, mean_of

# In normalised features, whose variance is 1: a standard deviation of 1 % of a feature's.
SMALLEST_VARIANCE = 1e-4
_START = 1e-3
# Training images whose responsibilities are in memory at a time.
_ROWS = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalisation:
    """Shift and scale per dimension; a dimension in which all training features are equal is left out.

    Attributes:
        mean: Of the training features.
        std: Of the training features, divided by n - 1.
    """

    mean: Float64[Tensor, " d"]
    std: Float64[Tensor, " d"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float64[Tensor, "n e"]:
        """Return the features with mean 0 and variance 1 over the training images, in float64."""
        kept = self.std > 0
        return (features.double()[:, kept] - self.mean[kept]) / self.std[kept]


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """A mixture of isotropic Gaussians of one weight.

    Attributes:
        centres: The samples' normalised features.
        variances: v_j, per dimension.
    """

    centres: Float64[Tensor, "m d"]
    variances: Float64[Tensor, " m"]

    def log_likelihood(self, features: Float64[Tensor, "n d"]) -> Float64[Tensor, " n"]:
        """Return log p(x) / d of each vector, in nats per dimension of normalised features."""
        parts = features.split(_ROWS)
        return (
            torch.cat([self._terms(_squared_distances(part, self.centres)).logsumexp(1) for part in parts])
            / (features.shape[1])
        )

    def _terms(self, squared: Float64[Tensor, "n m"]) -> Float64[Tensor, "n m"]:
        """Return log (N(x_i; s_j, v_j I) / m) from squared distances."""
        dim = self.centres.shape[1]
        logs = -0.5 * dim * (2 * math.pi * self.variances).log() - math.log(len(self.centres))
        return logs - squared / (2 * self.variances)


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """A fitted mixture.

    Attributes:
        mixture: With the last variances.
        log_likelihoods: The mean over training images of log p / d before each step and after the last; it never falls.
    """

    mixture: Mixture
    log_likelihoods: list[float]


def fit_mixture(
    samples: Float64[Tensor, "m d"],
    training: Float64[Tensor, "n d"],
    *,
    steps: int = 200,
    tolerance: float = 1e-6,
) -> Fit:
    """Fit the variances to training images by EM.

    With the responsibilities r_ij = p(j | x_i), a step sets v_j = sum_i r_ij |x_i - s_j|^2 / (d sum_i r_ij), or
    `SMALLEST_VARIANCE` if that is smaller: the best v_j above the floor, so that the likelihood never falls. If no
    image chooses a component, it keeps its variance. All n m squared distances are in memory, so that a side should
    have some thousands of rows at most.

    Args:
        samples: Normalised features of the samples, the centres.
        training: Normalised features of training images.
        steps: Steps at most.
        tolerance: Stop as soon as a step gains less, in nats per dimension.

    Raises:
        ValueError: If a side is empty or no dimension is left.
    """
    if not (len(samples) and len(training) and samples.shape[1]):
        raise ValueError(f"a fit needs features on both sides; got {tuple(samples.shape)} and {tuple(training.shape)}")
    squared, dim = _squared_distances(training, samples), samples.shape[1]
    start = ((squared.min(0).values + _START) / dim).clamp(min=SMALLEST_VARIANCE)
    mixture, history = Mixture(centres=samples, variances=start), list[float]()
    while True:
        mass, moment, total = torch.zeros_like(start), torch.zeros_like(start), 0.0
        for part in squared.split(_ROWS):
            terms = mixture._terms(part)
            logs = terms.logsumexp(1, keepdim=True)
            shares = terms.sub_(logs).exp_()
            mass += shares.sum(0)
            moment += shares.mul_(part).sum(0)
            total += float(logs.sum())
        history.append(total / len(training) / dim)
        if len(history) > steps or (len(history) > 1 and history[-1] - history[-2] < tolerance):
            return Fit(mixture=mixture, log_likelihoods=history)
        chosen = mass > 0
        fitted = (moment / (dim * torch.where(chosen, mass, 1.0))).clamp(min=SMALLEST_VARIANCE)
        mixture = Mixture(centres=samples, variances=torch.where(chosen, fitted, mixture.variances))


def generalisation_gap(training: Float64[Tensor, " n"], held_out: Float64[Tensor, " m"]) -> Estimate:
    """Return the mean log-likelihood per dimension of training images less that of held-out images, in nats.

    It is about 0 if samples are no nearer to training images than to held-out ones, and positive for copies. The fit
    saw the training images, so it is a little above 0 without any copy. The error is that over images, the fit held
    fixed: sqrt(s_n^2 / n + s_m^2 / m).

    Args:
        training: `Mixture.log_likelihood` of the training images that were fitted.
        held_out: `Mixture.log_likelihood` of held-out images.
    """
    seen, unseen = mean_of(training), mean_of(held_out)
    error: float | None = None
    terms: int | None = None
    if seen.standard_error is not None and unseen.standard_error is not None:
        error, terms = math.hypot(seen.standard_error, unseen.standard_error), min(len(training), len(held_out))
    return Estimate(seen.value - unseen.value, error, terms)


def normalisation(training: Float[Tensor, "n d"]) -> Normalisation:
    """Return the shift and scale that give training features mean 0 and variance 1.

    Args:
        training: Features of at least 2 training images.
    """
    wide = training.double()
    return Normalisation(mean=wide.mean(0), std=wide.std(0))


def _squared_distances(x: Float64[Tensor, "n d"], centres: Float64[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    # Normalised features have their mean at 0; the floor of the variances is far above the table's rounding.
    return distance_table(x, centres, torch.zeros_like(centres[0]))[0]
