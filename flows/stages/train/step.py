"""One step of training: learning rate, dropout's seed, the optimiser's step and the averaged weights."""

from dataclasses import dataclass

import torch
from torch import nn

from ddpm_core.ema import ema_decay, update_ema
from ddpm_core.rng import Stream, words
from ddpm_core.schedule import NoiseSchedule
from ddpm_core.train_step import StepConfig, StepResult, learning_rate, train_step
from flows.stages.train.batches import Batch
from flows.stages.train.config import TrainConfig
from flows.stages.train.state import TrainingState
from infra.compute.device import repeatable_gradients
from infra.errors import DivergedError

_SKIPS_IN_A_ROW = 10


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """Takes a worker's steps.

    Attributes:
        config: The stage's settings.
        step_config: The core's settings of one step.
        schedule: The noise schedule, on the training device.
        state: Changed by each step.
        rank: This worker's place in its group.
    """

    config: TrainConfig
    step_config: StepConfig
    schedule: NoiseSchedule
    state: TrainingState
    rank: int = 0

    def __call__(self, model: nn.Module, batch: Batch) -> StepResult:
        """Take the step that starts at the state's images seen; `model` is its network, or wraps it for a group.

        Raises:
            DivergedError: If the gradient was not finite in ten steps in a row.
        """
        config, state = self.config, self.state
        seen = state.images_seen
        if config.dropout:
            torch.manual_seed(_dropout_seed(config.seed, seen, self.rank))
        rate = learning_rate(
            seen, peak=config.learning_rate, warmup_images=config.lr_warmup_images, decay_images=config.lr_decay_images
        )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        with repeatable_gradients(config.device):
            result = train_step(
                model, state.optimizer, self.schedule, batch.images, batch.noise, self.step_config, batch.labels
            )
        if result.applied:
            self._average()
        self._count(result)
        if state.averages is not None:
            state.averages.update(state.network, state.images_seen // config.batch_size)
        return result

    def _average(self) -> None:
        config, state = self.config, self.state
        decay = ema_decay(
            state.images_seen,
            config.batch_size,
            halflife_images=config.ema_halflife_images,
            rampup_ratio=config.ema_rampup_ratio,
        )
        update_ema(state.ema.parameters(), state.network.parameters(), decay)

    def _count(self, result: StepResult) -> None:
        state = self.state
        state.skipped_in_a_row = 0 if result.applied else state.skipped_in_a_row + 1
        if state.skipped_in_a_row >= _SKIPS_IN_A_ROW:
            raise DivergedError(
                f"{_SKIPS_IN_A_ROW} steps in a row had gradients that are not finite",
                stage="train",
                item=f"images_seen {state.images_seen}",
                remedy="lower train.learning_rate; checkpoints before this are kept",
            )
        state.images_seen += self.config.batch_size


def _dropout_seed(seed: int, images_seen: int, rank: int) -> int:
    """Return a seed per step and rank; dropout is the only draw from torch's own generator."""
    drawn = words(seed, Stream.DROPOUT, torch.tensor([images_seen]), 2, step=rank)[0]
    return int(drawn[0]) << 31 | int(drawn[1]) >> 1
