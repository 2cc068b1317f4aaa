"""One step of training: learning rate, dropout's seed, the optimiser's step and the averaged weights."""

from dataclasses import dataclass

import torch
from torch import nn

from ddpm_core.ema import ema_decay, update_ema_if
from ddpm_core.rng import Stream, words
from ddpm_core.schedule import NoiseSchedule
from ddpm_core.train_step import StepConfig, StepResult, learning_rate, train_step
from flows.stages.train.batches import Batch
from flows.stages.train.config import TrainConfig
from flows.stages.train.skips import SKIPS_IN_A_ROW
from flows.stages.train.state import TrainingState
from infra.compute.device import repeatable_gradients
from infra.errors import DivergedError

# The bits of a coordinate of dropout's seed that hold the rank.
_RANK_BITS = 16


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
        seen, scale = state.images_seen, state.loss_scale
        rate = learning_rate(
            seen, peak=config.learning_rate, warmup_images=config.lr_warmup_images, decay_images=config.lr_decay_images
        )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        with repeatable_gradients(config.device, wanted=config.deterministic):
            result = train_step(
                model,
                state.optimizer,
                self.schedule,
                batch.images,
                batch.noise,
                self.step_config,
                batch.labels,
                loss_scale=scale,
                before_pass=self._seed_dropout if config.dropout else None,
            )
        state.loss_scale = result.loss_scale
        self._average(result)
        state.skips.add(result, scale.scale if scale else None)
        self._count()
        if state.averages is not None:
            state.averages.update(state.network, state.images_seen // config.batch_size)
        return result

    def _seed_dropout(self, number: int) -> None:
        torch.manual_seed(_dropout_seed(self.config.seed, self.state.images_seen, self.rank, number))

    def _average(self, result: StepResult) -> None:
        config, state = self.config, self.state
        decay = ema_decay(
            state.images_seen,
            config.batch_size,
            halflife_images=config.ema_halflife_images,
            rampup_ratio=config.ema_rampup_ratio,
        )
        update_ema_if(result.applied, state.ema.parameters(), state.network.parameters(), decay)

    def _count(self) -> None:
        state, size = self.state, self.config.batch_size
        if state.skips.are_too_many(is_last=state.images_seen + size >= self.config.total_images):
            raise DivergedError(
                f"{SKIPS_IN_A_ROW} steps in a row had gradients that are not finite",
                stage="train",
                item=f"images_seen {state.images_seen}",
                remedy="lower train.learning_rate; checkpoints before this are kept",
            )
        state.images_seen += size


def _dropout_seed(seed: int, images_seen: int, rank: int, microbatch: int = 0) -> int:
    """Return a seed per step, rank and micro-batch; dropout is the only draw from torch's own generator."""
    place = microbatch << _RANK_BITS | rank
    drawn = words(seed, Stream.DROPOUT, torch.tensor([images_seen]), 2, step=place)[0]
    return int(drawn[0]) << 31 | int(drawn[1]) >> 1
