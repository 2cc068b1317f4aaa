"""A distribution that draws timesteps with large losses more often, and the weights that keep means unbiased."""

from copy import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ddpm_core.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class TimestepProposal:
    """A distribution over timesteps; multiplying by `weight` keeps the mean that uniform t would have.

    Attributes:
        probabilities: The probability of each t = 0..T-1; each above 0, with sum 1.
    """

    probabilities: Float64[Tensor, " T"]

    def __post_init__(self) -> None:
        p = self.probabilities
        if not (bool((p > 0).all()) and abs(float(p.sum()) - 1) < 1e-9):
            raise ValueError(
                f"probabilities must be above 0 and add up to 1; got a minimum of {p.min().item():g} "
                f"and a sum of {p.sum().item():g}"
            )

    def to(self, device: torch.device) -> "TimestepProposal":
        """Return the same proposal with its probabilities on `device`, where nothing is computed or checked again."""
        moved = copy(self)
        object.__setattr__(moved, "probabilities", self.probabilities.to(device))
        return moved

    @classmethod
    def of_second_moments(
        cls, second_moments: Float64[Tensor, " T"], uniform_share: float = 1e-3
    ) -> "TimestepProposal":
        """Return p_t proportional to sqrt(E[L_t^2]) (Nichol and Dhariwal 2021, eq. (18)), mixed with uniform t.

        This choice minimises the variance.

        Args:
            second_moments: Mean of the squared loss at each t, 0 or above and not all 0.
            uniform_share: Probability of drawing t uniformly instead, in (0, 1], so that no t has probability 0.
        """
        if not 0 < uniform_share <= 1:
            raise ValueError(f"uniform_share must lie in (0, 1]; got {uniform_share}")
        roots = second_moments.sqrt()
        if not (bool((second_moments >= 0).all()) and float(roots.sum()) > 0):
            raise ValueError(f"second moments must be 0 or above and not all 0; got {second_moments.min().item():g}")
        return cls((1 - uniform_share) * roots / roots.sum() + uniform_share / len(roots))

    @classmethod
    def of_some_second_moments(
        cls,
        places: Int64[Tensor, " n"],
        second_moments: Float64[Tensor, " n"],
        num_timesteps: int,
        uniform_share: float = 1e-3,
    ) -> "TimestepProposal":
        """Like `of_second_moments`, from a few timesteps; square roots are interpolated linearly between them.

        Args:
            places: The timesteps, rising from 0 to T-1.
            second_moments: Mean of the squared loss at each of them.
            num_timesteps: T.
            uniform_share: See `of_second_moments`.
        """
        if num_timesteps == 1:
            return cls.of_second_moments(second_moments, uniform_share)
        every = torch.arange(num_timesteps, device=places.device)
        after = torch.searchsorted(places, every).clamp(min=1)
        before, roots = after - 1, second_moments.sqrt()
        share = (every - places[before]) / (places[after] - places[before]).double()
        return cls.of_second_moments(torch.lerp(roots[before], roots[after], share) ** 2, uniform_share)

    @classmethod
    def of_gaussian_data(
        cls, schedule: NoiseSchedule, data_variance: float = 0.25, uniform_share: float = 0.2
    ) -> "TimestepProposal":
        """Return a proposal over t = 1..T-1 that depends on the schedule alone, so that all networks share its draws.

        p_t is proportional to the term of the bound that the best network pays for independent Gaussian pixels under
        the variance beta_t, in nats per dimension, mixed with uniform t:

            1/2 (r_t - 1 - log r_t) + c_t^2 V_t / (2 beta_t),

        where r_t is the posterior's variance over beta_t, c_t the posterior mean's coefficient of x_0 (eq. (7)), and
        V_t = v (1 - ab) / (ab v + 1 - ab) the variance of x_0 given x_t for pixels of variance v. A network that sees
        more than single pixels pays less at middle t; the uniform share bounds the weights that this leaves too large.

        Args:
            schedule: The chain, of at least 2 steps.
            data_variance: v, above 0, on the scale where images lie in [-1, 1].
            uniform_share: See `of_second_moments`.
        """
        cumprod, betas = schedule.alphas_cumprod[1:], schedule.betas[1:]
        ratio = schedule.posterior_variance[1:] / betas
        unknown = data_variance * (1 - cumprod) / (cumprod * data_variance + 1 - cumprod)
        error = schedule.posterior_mean_coef_x_start[1:] ** 2 * unknown / (2 * betas)
        terms = 0.5 * (ratio - 1 - ratio.log()) + error
        return cls.of_second_moments(terms**2, uniform_share)

    def draw(self, u: Float64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
        """Turn uniform numbers in (0, 1) into timesteps, by the inverse distribution function."""
        edges = self.probabilities.cumsum(0)[:-1]
        return torch.searchsorted(edges, u, right=True)

    def weight(self, t: Int64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
        """1 / (T p_t): multiplied by it, L_t at t drawn from here has the mean of L_t at uniform t."""
        return 1 / (len(self.probabilities) * self.probabilities[t])
