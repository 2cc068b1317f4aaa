"""The loop of training: steps from the images seen to the goal, with rows, checkpoints and the snapshot on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn

from ddpm_core.train_step import StepResult
from flows.snapshot import encode_snapshot
from flows.stages.train.batches import Batch, Draw
from flows.stages.train.checkpoints import SNAPSHOTS, Checkpoints
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import History
from flows.stages.train.objective import make_objective, schedule_settings
from flows.stages.train.state import TrainingState
from infra.compute.heartbeat import Pulse
from infra.outputs.plan import Output

Step = Callable[[nn.Module, Batch], StepResult]


@dataclass(kw_only=True)
class TrainingLoop:
    """One worker's share of the run.

    Attributes:
        config: The stage's settings.
        output: The output to commit the snapshot to.
        state: Changed by each step.
        draw: Draws the batches.
        step: Takes the steps.
        history: Receives each step's result.
        checkpoints: Commits checkpoints, on rank 0.
        pulse: Says when to stop.
        device: The training device.
        rank: This worker's place in its group.
        world_size: Workers in the group.
        phase: Work other than steps in progress, such as "saving".
    """

    config: TrainConfig
    output: Output
    state: TrainingState
    draw: Draw
    step: Step
    history: History
    checkpoints: Checkpoints
    pulse: Pulse
    device: torch.device
    rank: int = 0
    world_size: int = 1
    phase: str = field(default="", init=False)

    def run(self) -> None:
        """Train to the goal, or until the pulse asks to stop; rank 0 commits checkpoints and the snapshot.

        If it is asked to stop, it leaves a checkpoint of the last step and no snapshot.
        """
        model: nn.Module = self.state.network
        if self.world_size > 1:
            model = nn.parallel.DistributedDataParallel(model)
        model.train()
        config, state = self.config, self.state
        while state.images_seen < config.total_images:
            result = self.step(model, self.draw(state.images_seen))
            self.history.add(result, config.batch_size)
            done = state.images_seen >= config.total_images
            if done or self._crossed(config.history_images):
                self.history.commit(
                    state.images_seen, state.optimizer.param_groups[0]["lr"], grad_norm=result.grad_norm
                )
            stopping = not done and self._stop_requested()
            if self.rank == 0 and (done or stopping or self._checkpoint_is_due()):
                self._commit_checkpoint()
            if stopping:
                return
        if self.rank == 0:
            self._commit_snapshot()

    def _stop_requested(self) -> bool:
        """Decide whether to stop after this step; only rank 0 is asked to, but all ranks must stop at the same step."""
        if self.world_size == 1:
            return self.pulse.stop
        flag = torch.tensor(int(self.pulse.stop), device=self.device)
        dist.broadcast(flag, src=0)
        return bool(flag)

    def _checkpoint_is_due(self) -> bool:
        return self._crossed(self.config.checkpoint_images) or self.checkpoints.are_due()

    def _crossed(self, every: int) -> bool:
        """Tell if the last step crossed a multiple of `every`; this does not depend on where the attempt started."""
        seen = self.state.images_seen
        return seen // every > (seen - self.config.batch_size) // every

    def _commit_checkpoint(self) -> None:
        state = self.state
        scalars = {
            "images_seen": state.images_seen,
            "skipped_in_a_row": state.skipped_in_a_row,
            "world_size": self.world_size,
        }
        self.phase = "saving"
        with self.history.time.paused():
            self.checkpoints.commit(state.images_seen, state.tensors(), scalars)
        self.phase = ""

    def _commit_snapshot(self) -> None:
        config, state = self.config, self.state
        objective = make_objective(config)
        data = encode_snapshot(
            state.ema.state_dict(),
            state.ema.config,
            schedule_settings(config),
            state.images_seen,
            parameterisation=objective.parameterisation,
            variance=objective.variance if objective.variance.is_learned else None,
        )
        self.output.commit(f"{SNAPSHOTS}/{state.images_seen:012d}", "safetensors", data, {})
