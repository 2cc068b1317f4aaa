"""A distribution that draws timesteps with large losses more often, and the weights that keep means unbiased."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


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

    def draw(self, u: Float64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
        """Turn uniform numbers in (0, 1) into timesteps, by the inverse distribution function."""
        edges = self.probabilities.cumsum(0)[:-1]
        return torch.searchsorted(edges, u, right=True)

    def weight(self, t: Int64[Tensor, "*n"]) -> Float64[Tensor, "*n"]:
        """1 / (T p_t): multiplied by it, L_t at t drawn from here has the mean of L_t at uniform t."""
        return 1 / (len(self.probabilities) * self.probabilities[t])
