"""Every option of a run: its name, a one-line description and the settings that it uses.

This module imports no torch, so that a config, a form or the command line loads at once.
"""

from enum import StrEnum
from typing import assert_never


class Choice(StrEnum):
    """An option, equal to its name.

    Attributes:
        description: One line about it.
        uses: Names of the settings that this option uses and some other option of its kind ignores.
    """

    _value_: str
    description: str
    uses: tuple[str, ...]

    def __new__(cls, name: str, description: str = "", uses: tuple[str, ...] = ()) -> "Choice":
        """Make a member from its name, its description and the settings that it uses."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.description = description
        member.uses = uses
        return member

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"{cls.__name__} must be one of {', '.join(cls)}; got {value!r}")


class Parameterisation(Choice):
    """The quantity that the network predicts from x_t = sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) eps."""

    EPS = "eps", "The noise eps (Ho et al. 2020, eq. (14))"
    X_START = "x_start", "The clean image x_0"
    V = "v", "The velocity sqrt(alpha-bar) eps - sqrt(1 - alpha-bar) x_0 (Salimans and Ho 2022)"
    X_PREV = "x_prev", "The posterior's mean E[x_{t-1} | x_t, x_0] (Ho et al. 2020, eq. (8)), of imported networks only"


class Loss(Choice):
    """The quantity that training minimises, per image."""

    SIMPLE = "simple", "L_simple, the mean squared error of the prediction"
    MIN_SNR = "min_snr", "L_simple with min-SNR-gamma weights (Hang et al. 2023)", ("min_snr_gamma",)
    BOUND = "bound", "T times the bound's own term: an unbiased estimate of the bound without L_T, in bits/dim"
    HYBRID = "hybrid", "L_simple plus a small share of the bound, to learn a variance (Nichol and Dhariwal 2021)"


class Variance(Choice):
    """The variance of p_theta(x_{t-1} | x_t): fixed (Ho et al. section 3.2) or predicted by the network per pixel."""

    FIXED_SMALL = "fixed_small", "The variance of the posterior q(x_{t-1} | x_t, x_0)"
    FIXED_LARGE = "fixed_large", "beta_t"
    LEARNED = "learned", "The network gives the log variance"
    LEARNED_RANGE = (
        "learned_range",
        "The network gives v on [-1, 1]; the log variance is (v + 1) / 2 log(beta_t) + (1 - v) / 2 log(fixed small)",
    )

    @property
    def is_learned(self) -> bool:
        """True if the network's output has a second half of channels for it."""
        return self in (Variance.LEARNED, Variance.LEARNED_RANGE)


FIXED_VARIANCES = (Variance.FIXED_SMALL, Variance.FIXED_LARGE)


class NetworkVariance(Choice):
    """The ways in which the network learns the variance of the reverse steps, or none."""

    FIXED = "fixed", "The network learns none, and sampling and the bound use a fixed variance"
    LEARNED = "learned", "The network learns the log variance of every pixel"
    LEARNED_RANGE = (
        "learned_range",
        "The network interpolates each pixel's log variance between fixed small and fixed large",
    )

    @property
    def learned(self) -> Variance | None:
        """The `Variance` that such a network predicts, or None if it predicts none."""
        match self:
            case NetworkVariance.FIXED:
                return None
            case NetworkVariance.LEARNED:
                return Variance.LEARNED
            case NetworkVariance.LEARNED_RANGE:
                return Variance.LEARNED_RANGE
            case unknown:
                assert_never(unknown)


class StepVariance(Choice):
    """The variance of the steps of ancestral sampling."""

    FIXED_SMALL = "fixed_small", "The variance of the posterior q(x_{t-1} | x_t, x_0)"
    FIXED_LARGE = "fixed_large", "beta_t"
    LEARNED = "learned", "The variance that the network learned"

    def of(self, learned: Variance | None) -> Variance | None:
        """The `Variance` of p_theta for a network that learned `learned`; None for LEARNED if it learned none."""
        match self:
            case StepVariance.FIXED_SMALL:
                return Variance.FIXED_SMALL
            case StepVariance.FIXED_LARGE:
                return Variance.FIXED_LARGE
            case StepVariance.LEARNED:
                return learned
            case unknown:
                assert_never(unknown)


class ScheduleKind(Choice):
    """The shape of the forward process: its betas for t = 0..T-1."""

    LINEAR = "linear", "Equally spaced (Ho et al. 2020)", ("beta_start", "beta_end")
    SCALED_LINEAR = "scaled_linear", "Linear times 1000 / T", ("beta_start", "beta_end")
    QUADRATIC = "quadratic", "Equally spaced square roots", ("beta_start", "beta_end")
    COSINE = "cosine", "alpha-bar follows a squared cosine (Nichol and Dhariwal 2021)"
    SIGMOID = "sigmoid", "alpha-bar follows a sigmoid (Jabri et al. 2022)"
    CONSTANT = "constant", "One beta at every timestep", ("beta_end",)
    JSD = "jsd", "1/T, 1/(T-1), ..., 1: alpha-bar falls linearly to 0 (Sohl-Dickstein et al. 2015)"
    WARMUP10 = "warmup10", "Linear over the first tenth of the timesteps, then constant", ("beta_start", "beta_end")
    WARMUP50 = "warmup50", "Linear over the first half of the timesteps, then constant", ("beta_start", "beta_end")


class Sampler(Choice):
    """The method that turns x_T into an image."""

    DDPM = "ddpm", "Ancestral sampling (Ho et al. 2020, Algorithm 2)", ("variance", "clip_x_start")
    DDIM = "ddim", "DDIM, deterministic at eta 0 (Song et al. 2021)", ("eta", "clip_x_start")
    ODE = "ode", "Heun's method for the probability-flow ODE: two network calls per step, no clipping"
