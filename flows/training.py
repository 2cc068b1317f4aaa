"""The training loop of one worker: computed order and noise, checkpoints to go on from, a snapshot at the goal."""

import copy
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ddpm_core.ema import ema_decay, update_ema
from ddpm_core.rng import Stream, words
from ddpm_core.schedule import NoiseSchedule
from ddpm_core.train_step import StepConfig, StepResult, learning_rate, train_step
from ddpm_core.training_order import drop_labels, training_noise
from ddpm_core.unet import UNet
from flows.artifacts import Dataset
from flows.config import TrainConfig
from flows.snapshot import channels_last, encode_snapshot, make_objective, make_schedule, schedule_settings
from flows.training_data import training_data
from flows.training_state import TrainingState
from infra.checkpoint import decode_tensors, encode_tensors
from infra.dataset import DatasetReader
from infra.device import prepare_process, torch_dtype
from infra.errors import DivergedError, IntegrityError
from infra.manifest import canonical_json
from infra.plan import Output, Plan
from infra.store import open_store

SNAPSHOTS = "snapshots"
CHECKPOINTS = "checkpoints"
_SKIPS_IN_A_ROW = 10


@dataclass
class HistoryWindow:
    """What has happened since the last row of the loss curve."""

    loss_sum: Tensor
    images: int = 0
    skipped: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, result: StepResult, images: int) -> None:
        """Count one step."""
        self.loss_sum += result.loss_sum
        self.images += images
        self.skipped += not result.applied


def history_rows(output: Output) -> list[dict[str, Any]]:
    """All rows of the loss curve, by images seen."""
    rows = [
        row for name in output.store.list(f"{output.folder}/history") for row in json.loads(output.store.read(name))
    ]
    return sorted(rows, key=lambda row: int(row["images_seen"]))


def run_training(spec: dict[str, Any]) -> None:
    """Run one worker of the group from the last checkpoint to the goal.

    Args:
        spec: Root, plan, attempt, config and data set, as JSON values.
    """
    config = TrainConfig(**spec["config"])
    output = Output(store=open_store(spec["root"]), plan=Plan(**spec["plan"]), attempt=spec["attempt"])
    dataset = Dataset(**spec["dataset"])
    worker = TrainingWorker(config, dataset, output)
    worker.resume()
    worker.run()


class TrainingWorker:
    """One worker's share of the run."""

    def __init__(self, config: TrainConfig, dataset: Dataset, output: Output) -> None:
        prepare_process(config.threads)
        self.config, self.output = config, output
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

    def resume(self) -> None:
        """Go on from the latest checkpoint up to the goal whose bytes are whole."""
        chosen, loaded = self._latest() if self.rank == 0 else (0, None)
        if self.world_size > 1:
            # A worker of an earlier run may still commit: all ranks take what rank 0 saw.
            choice = torch.tensor(chosen, device=self.device)
            dist.broadcast(choice, src=0)
            chosen = int(choice)
        if chosen and loaded is None:
            loaded = self._load(chosen)
        if loaded is not None:
            self.state.restore(*loaded)

    def _latest(self) -> tuple[int, tuple[dict[str, Tensor], dict[str, Any]] | None]:
        found = [int(name.rsplit("/", 1)[1]) for name in self.output.records(CHECKPOINTS)]
        for images_seen in sorted((i for i in found if i <= self.config.total_images), reverse=True):
            try:
                return images_seen, self._load(images_seen)
            except IntegrityError:
                # The one before it is as good a place to go on from; `ddpm verify` names the damaged one.
                continue
        return 0, None

    def _load(self, images_seen: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        name = f"{CHECKPOINTS}/{images_seen:012d}"
        record = self.output.record(name)
        if record is None:
            raise IntegrityError("was removed while this run started", item=name, remedy="run again")
        return decode_tensors(self.output.read(record), name)

    def run(self) -> None:
        """Train to the goal; rank 0 commits history, checkpoints and the snapshot."""
        model: nn.Module = self.state.network
        if self.world_size > 1:
            model = nn.parallel.DistributedDataParallel(model)
        model.train()
        window = self._new_window()
        config, state = self.config, self.state
        while state.images_seen < config.total_images:
            result = self._step(model)
            window.add(result, config.batch_size)
            done = state.images_seen >= config.total_images
            if done or self._crossed(config.history_images):
                self._commit_history(window, result)
                window = self._new_window()
            if self.rank == 0 and (done or self._crossed(config.checkpoint_images)):
                self._commit_checkpoint()
        if self.rank == 0:
            self._commit_snapshot()

    def _step(self, model: nn.Module) -> StepResult:
        config, state = self.config, self.state
        seen = state.images_seen
        if config.dropout:
            torch.manual_seed(_dropout_seed(config.seed, seen, self.rank))
        slots = torch.arange(seen + self.rank, seen + config.batch_size, self.world_size)
        images, classes = self.data(slots)
        labels = self._labels(slots, classes)
        slots = slots.to(self.device)
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
        """What the network is told of these slots' images: their classes, here and there none; nothing without."""
        config, known = self.config, self.state.network.config.num_classes
        if not known:
            return None
        labels = drop_labels(config.seed, slots, classes, known - 1, config.label_dropout)
        return labels.to(self.device, non_blocking=True)

    def _crossed(self, every: int) -> bool:
        """Whether the last step crossed a multiple of `every`: the same steps wherever a run starts."""
        seen = self.state.images_seen
        return seen // every > (seen - self.config.batch_size) // every

    def _new_window(self) -> HistoryWindow:
        return HistoryWindow(loss_sum=torch.zeros((), device=self.device))

    def _commit_history(self, window: HistoryWindow, result: StepResult) -> None:
        if self.world_size > 1:
            dist.all_reduce(window.loss_sum)
        if self.rank != 0:
            return
        row = {
            "images_seen": self.state.images_seen,
            "loss": float(window.loss_sum) / window.images,
            "grad_norm": float(result.grad_norm),
            "learning_rate": self.state.optimizer.param_groups[0]["lr"],
            "images_per_second": window.images / (time.monotonic() - window.started),
            "skipped_steps": window.skipped,
            "time_ms": int(time.time() * 1000),
        }
        finite = {name: value if value == value and abs(value) != float("inf") else None for name, value in row.items()}
        name = f"{self.output.folder}/history/{self.state.images_seen:012d}.json"
        self.output.store.put_if_absent(name, canonical_json([finite]))

    def _commit_checkpoint(self) -> None:
        state = self.state
        scalars = {
            "images_seen": state.images_seen,
            "skipped_in_a_row": state.skipped_in_a_row,
            "world_size": self.world_size,
        }
        data = encode_tensors(state.tensors(), scalars)
        self.output.commit(f"{CHECKPOINTS}/{state.images_seen:012d}", "safetensors", data, scalars)
        self._drop_old_checkpoints()

    def _drop_old_checkpoints(self) -> None:
        """Delete all but the latest and those at sealed goals, records first, and only after a newer one is whole."""
        goals = {name.rsplit("/", 1)[1] for name in self.output.records(SNAPSHOTS)}
        names = [name for name in self.output.records(CHECKPOINTS) if name.rsplit("/", 1)[1] not in goals]
        for name in names[: -self.config.keep_checkpoints]:
            record = self.output.record(name)
            self.output.store.delete(f"{self.output.folder}/{name}.json")
            if record is not None:
                self.output.store.delete(f"{self.output.folder}/{record.file}")

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
    """A seed of its own for each step and rank; dropout is the one draw that torch makes."""
    drawn = words(seed, Stream.DROPOUT, torch.tensor([images_seen]), 2, step=rank)[0]
    return int(drawn[0]) << 31 | int(drawn[1]) >> 1
