"""The core's schedule and objective from the settings of training."""

from typing import Any

from ddpm_core.choices import Variance
from ddpm_core.objective import Objective
from flows.stages.train.config import TrainConfig


def schedule_settings(config: TrainConfig) -> dict[str, Any]:
    """The arguments of `make_schedule` that a config stands for.

    Betas that the schedule ignores have their defaults: the snapshot holds them, and its key does not depend on them.
    """
    unused = config.unused()
    betas = {
        name: TrainConfig.model_fields[name].default if name in unused else getattr(config, name)
        for name in ("beta_start", "beta_end")
    }
    return {
        "kind": config.schedule,
        "num_timesteps": config.num_timesteps,
        **betas,
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
