"""From training's settings to the schedule and the objective of the core."""

from typing import Any

from ddpm_core.choices import Variance
from ddpm_core.objective import Objective
from flows.stages.train.config import TrainConfig


def schedule_settings(config: TrainConfig) -> dict[str, Any]:
    """The arguments of `make_schedule` that a config stands for."""
    return {
        "kind": config.schedule,
        "num_timesteps": config.num_timesteps,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "zero_terminal_snr": config.zero_terminal_snr,
    }


def make_objective(config: TrainConfig) -> Objective:
    """What a config trains for."""
    return Objective(
        loss=config.loss,
        parameterisation=config.parameterisation,
        variance=config.variance.learned or Variance.FIXED_LARGE,
        min_snr_gamma=config.min_snr_gamma,
    )
