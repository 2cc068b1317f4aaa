"""The training loop of one worker: computed order and noise, checkpoints to resume from, a snapshot at the goal."""

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ddpm_core.ema import ema_decay, update_ema
from ddpm_core.network.unet import UNet
from ddpm_core.rng import Stream, words
from ddpm_core.schedule import NoiseSchedule
from ddpm_core.train_step import StepConfig, StepResult, learning_rate, train_step
from ddpm_core.training_order import drop_labels, training_noise
from flows.snapshot import channels_last, encode_snapshot, make_schedule
from flows.stages.train.assignment import Assignment
from flows.stages.train.checkpoints import SNAPSHOTS, Checkpoints
from flows.stages.train.compilation import compile_for_training
from flows.stages.train.data import training_data
from flows.stages.train.history import History
from flows.stages.train.objective import make_objective, schedule_settings
from flows.stages.train.state import TrainingState
from infra.compute.compilation import COMPILING
from infra.compute.device import prepare_process, repeatable_gradients, torch_dtype
from infra.compute.heartbeat import Beat, Pulse
from infra.errors import DivergedError
from infra.outputs.images import DatasetReader

_SKIPS_IN_A_ROW = 10


def run_training(values: dict[str, Any], beat: Beat) -> None:
    """Run one worker of the group from the last checkpoint to the goal, or until a beat's reply asks it to stop.

    Args:
        values: An `Assignment` as JSON values, since Ray Train passes a dict.
        beat: Receives the result of `TrainingWorker.beat`, from rank 0 only.
    """
    assignment = Assignment.from_json(values)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    with Pulse(beat if is_first else None, lambda: {"phase": "loading the data", "starting": True}) as pulse:
        worker = TrainingWorker(assignment, pulse)
        worker.resume()
        worker.run()


class TrainingWorker:
    """One worker's share of the run.

    Args:
        assignment: The work of the group.
        pulse: Reports the work and says when to stop; the default has no listener and never stops.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self, assignment: Assignment, pulse: Pulse | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        config, dataset, output = assignment.config, assignment.dataset, assignment.output
        prepare_process(config.threads)
        self.config, self.output = config, output
        self.pulse, self.clock = pulse or Pulse(), clock
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.device = (
            torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            if config.device == "cuda"
            else torch.device("cpu")
        )
        reader = DatasetReader(store=output.store, manifest=dataset.manifest(output.store))
        self.data = training_data(reader, config.seed, config.shuffle_images)
        self.image_shape = (dataset.channels, dataset.image_size, dataset.image_size)
        self.schedule: NoiseSchedule = make_schedule(**schedule_settings(config)).to(self.device)
        shape = config.unet(dataset.image_size, dataset.channels, len(dataset.class_names))
        network = UNet(shape, seed=config.seed)
        network = channels_last(network.to(self.device))
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        self.state = TrainingState(
            network=network, ema=copy.deepcopy(network).requires_grad_(False), optimizer=optimizer
        )
        self.step_config = StepConfig(
            global_batch_size=config.batch_size,
            world_size=self.world_size,
            grad_clip=config.grad_clip,
            autocast_dtype=torch_dtype(config.dtype),
            random_flip=config.random_flip,
            objective=make_objective(config),
        )
        if config.compile:
            self.pulse.tell(lambda: {"phase": COMPILING, "starting": True})
            share = len(range(self.rank, config.batch_size, self.world_size))
            compile_for_training(network, share, self.device, self.step_config.autocast_dtype)
        self.checkpoints = Checkpoints(output, config.keep_checkpoints, 60 * config.checkpoint_minutes, clock)
        self.resumed_at, self.phase = 0, ""

    def resume(self) -> None:
        """Resume from the latest undamaged checkpoint up to the goal, if there is one."""
        goal = self.config.total_images
        chosen, loaded = self.checkpoints.latest(goal) if self.rank == 0 else (0, None)
        if self.world_size > 1:
            # All ranks take rank 0's choice, because a worker of an earlier run may still commit.
            choice = torch.tensor(chosen, device=self.device)
            dist.broadcast(choice, src=0)
            chosen = int(choice)
        if chosen and loaded is None:
            loaded = self.checkpoints.load(chosen)
        if loaded is not None:
            self.state.restore(*loaded)
        self.resumed_at = chosen

    def beat(self) -> dict[str, Any]:
        """Return the report for the driver as JSON values; it is called about once per second."""
        return {
            "images_seen": self.state.images_seen,
            "resumed_at": self.resumed_at,
            "kept": self.checkpoints.kept,
            "loss": self.history.loss(),
            "images_per_second": self.history.images_per_second(),
            "phase": self.phase,
        }

    def run(self) -> None:
        """Train to the goal, or until the pulse asks to stop; rank 0 commits checkpoints and the snapshot.

        If it is asked to stop, it leaves a checkpoint of the last step and no snapshot.
        """
        model: nn.Module = self.state.network
        if self.world_size > 1:
            model = nn.parallel.DistributedDataParallel(model)
        model.train()
        config, state = self.config, self.state
        self.history = History(self.output, self.device, self.clock)
        self.pulse.tell(self.beat)
        while state.images_seen < config.total_images:
            with repeatable_gradients(config.device):
                result = self._step(model)
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

    def _step(self, model: nn.Module) -> StepResult:
        config, state = self.config, self.state
        seen = state.images_seen
        if config.dropout:
            torch.manual_seed(_dropout_seed(config.seed, seen, self.rank))
        slots = torch.arange(seen + self.rank, seen + config.batch_size, self.world_size)
        images, classes = self.data(slots)
        labels = self._labels(slots, classes)
        slots = slots.to(self.device, non_blocking=True)
        noise = training_noise(config.seed, slots, self.schedule.num_timesteps, self.image_shape)
        rate = learning_rate(
            seen, peak=config.learning_rate, warmup_images=config.lr_warmup_images, decay_images=config.lr_decay_images
        )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        images = images.to(self.device, non_blocking=True)
        result = train_step(model, state.optimizer, self.schedule, images, noise, self.step_config, labels)
        if result.applied:
            decay = ema_decay(
                seen,
                config.batch_size,
                halflife_images=config.ema_halflife_images,
                rampup_ratio=config.ema_rampup_ratio,
            )
            update_ema(state.ema.parameters(), state.network.parameters(), decay)
        state.skipped_in_a_row = 0 if result.applied else state.skipped_in_a_row + 1
        if state.skipped_in_a_row >= _SKIPS_IN_A_ROW:
            raise DivergedError(
                f"{_SKIPS_IN_A_ROW} steps in a row had gradients that are not finite",
                stage="train",
                item=f"images_seen {seen}",
                remedy="lower train.learning_rate; checkpoints before this are kept",
            )
        state.images_seen = seen + config.batch_size
        return result

    def _labels(self, slots: Tensor, classes: Tensor) -> Tensor | None:
        """Labels for these slots after label dropout, or None if the network is unconditional."""
        config, num_classes = self.config, self.state.network.config.num_classes
        if not num_classes:
            return None
        labels = drop_labels(config.seed, slots, classes, num_classes - 1, config.label_dropout)
        return labels.to(self.device, non_blocking=True)

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
        objective = self.step_config.objective
        data = encode_snapshot(
            state.ema.state_dict(),
            state.ema.config,
            schedule_settings(config),
            state.images_seen,
            parameterisation=objective.parameterisation,
            variance=objective.variance if objective.variance.is_learned else None,
        )
        self.output.commit(f"{SNAPSHOTS}/{state.images_seen:012d}", "safetensors", data, {})


def _dropout_seed(seed: int, images_seen: int, rank: int) -> int:
    """Return a seed per step and rank; dropout is the only draw from torch's own generator."""
    drawn = words(seed, Stream.DROPOUT, torch.tensor([images_seen]), 2, step=rank)[0]
    return int(drawn[0]) << 31 | int(drawn[1]) >> 1
