"""The core's schedule and objective from the settings of training."""

from typing import Any

from ddpm_core.choices import Variance
from ddpm_core.objective import Objective
from flows.stages.train.config import TrainConfig


def schedule_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the arguments of `make_schedule` for a config."""
    return {
        "kind": config.schedule,
        "num_timesteps": config.num_timesteps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "zero_terminal_snr": config.zero_terminal_snr,
    }


def make_objective(config: TrainConfig) -> Objective:
    """Return the objective that a config trains for."""
    return Objective(
        loss=config.loss,
        parameterisation=config.parameterisation,
        variance=config.variance.learned or Variance.FIXED_LARGE,
        min_snr_gamma=config.min_snr_gamma,
    )
