"""One worker of a training group: it builds network, data and optimiser, resumes, and runs the loop to the goal."""

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from ddpm_core.loss_scale import initial_scale
from ddpm_core.schedule import NoiseSchedule
from ddpm_core.train_step import StepConfig
from flows.snapshot import channels_last, make_schedule
from flows.stages.train.assignment import Assignment
from flows.stages.train.averages import PowerAverages
from flows.stages.train.batches import Batches, BatchSource, batches_ahead
from flows.stages.train.blocks import Blocks, steps_per_block
from flows.stages.train.checkpoints import Checkpoints
from flows.stages.train.commits import Commits
from flows.stages.train.compilation import compile_for_training
from flows.stages.train.data import training_data
from flows.stages.train.history import History, Purpose
from flows.stages.train.initial import first_network
from flows.stages.train.loop import Cadences, Step, TrainingLoop
from flows.stages.train.objective import make_objective, schedule_settings
from flows.stages.train.points import POINTS_APART, Cadence, images_between_points
from flows.stages.train.retries import Retries
from flows.stages.train.saver import Saver
from flows.stages.train.skips import Skips
from flows.stages.train.state import TrainingState
from flows.stages.train.step import TrainingStep
from flows.stages.train.watch.records import committed_places
from flows.stages.train.watch.turn import make_watcher
from flows.stages.train.watch.watcher import Unwatched, Watcher
from infra.compute.compilation import COMPILING
from infra.compute.device import prepare_process, torch_dtype
from infra.compute.heartbeat import Beat, Pulse
from infra.compute.memory import memory_errors
from infra.compute.preemption import current_notice
from infra.outputs.images import DatasetReader

# A long run's rows come farther apart, since each is a file, and every manifest of a point holds all before it.
_ROW_SHARE = 0.001
# A node that is drained often has two minutes left; a look waits for all workers, some milliseconds.
_LOOK_S = 10.0
_LESS_MEMORY = "set train.activation_checkpointing=true, or train.microbatch to part of a worker's images per step"
_FEWER_IMAGES = "set train.shuffle_images to the number of images that memory holds"


def run_training(values: dict[str, Any], beat: Beat) -> None:
    """Run one worker of the group from the last checkpoint to the goal, or until a beat's reply asks it to stop.

    Args:
        values: An `Assignment` as JSON values, since Ray Train passes a dict.
        beat: Receives the result of `TrainingWorker.beat`, from rank 0 only.
    """
    assignment = Assignment.from_json(values)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    if assignment.survey is not None:
        assignment.survey.compare(assignment.output)
    loading = {"phase": "loading the data", "starting": True}
    with memory_errors("train", _LESS_MEMORY), Pulse(beat if is_first else None, lambda: loading) as pulse:
        worker = TrainingWorker(assignment, pulse)
        worker.resume()
        with worker.notice.at_work():
            worker.run()


class TrainingWorker:
    """One worker's share of the run.

    Args:
        assignment: The work of the group.
        pulse: Reports the work and says when to stop; the default has no listener and never stops.
        clock: Returns seconds from any origin.
        watcher: Receives the points, on rank 0; by default it measures them in turn if the assignment says so.
        saver: Commits beside the steps, on rank 0.
    """

    def __init__(
        self,
        assignment: Assignment,
        pulse: Pulse | None = None,
        clock: Callable[[], float] = time.monotonic,
        watcher: Watcher | None = None,
        saver: Saver | None = None,
    ) -> None:
        config, dataset, output = assignment.config, assignment.dataset, assignment.output
        prepare_process(config.threads, config.dtype)
        self.config, self.output = config, output
        self.pulse, self.clock, self.notice = pulse or Pulse(), clock, current_notice()
        self.saver, self.retries = saver or Saver(), Retries("the data")
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.device = (
            torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            if config.device == "cuda"
            else torch.device("cpu")
        )
        usual = make_watcher(assignment, self.device, clock) if self.rank == 0 else Unwatched()
        self.watcher: Watcher = watcher or usual
        reader = DatasetReader(store=output.store, manifest=dataset.manifest(output.store))
        with memory_errors("train", _FEWER_IMAGES):
            self.data = training_data(reader, config.seed, config.shuffle_images, self.device)
        self.image_shape = dataset.image_shape
        schedule: NoiseSchedule = make_schedule(**schedule_settings(config)).to(self.device)
        shape = config.unet(dataset.image_size, dataset.channels, len(dataset.class_names))
        network = first_network(shape, config.seed, assignment.initial, output.store)
        network = channels_last(network.to(self.device))
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        self.state = TrainingState(
            network=network,
            ema=copy.deepcopy(network).requires_grad_(False),
            optimizer=optimizer,
            # Only rank 0 saves them.
            averages=PowerAverages(network) if config.averages and self.rank == 0 else None,
            loss_scale=initial_scale(self.device) if config.dtype == "float16" else None,
            skips=Skips(self.device),
        )
        if config.activation_checkpointing:
            network.recompute_blocks()
        step_config = self._step_config()
        if config.compile:
            self._compile(step_config)
        self.step: Step = TrainingStep(
            config=config, step_config=step_config, schedule=schedule, state=self.state, rank=self.rank
        )
        self.checkpoints = Checkpoints(output, config.keep_checkpoints)
        self.resumed_at = 0

    def _step_config(self) -> StepConfig:
        config = self.config
        return StepConfig(
            global_batch_size=config.batch_size,
            world_size=self.world_size,
            grad_clip=config.grad_clip,
            autocast_dtype=torch_dtype(config.dtype),
            random_flip=config.random_flip,
            objective=make_objective(config),
            microbatch=config.microbatch,
        )

    def _compile(self, step_config: StepConfig) -> None:
        """Compile the network for passes of a micro-batch, or of this worker's whole share."""
        config = self.config
        self.pulse.tell(lambda: {"phase": COMPILING, "starting": True})
        share = len(range(self.rank, config.batch_size, self.world_size))
        images, dtype = min(config.microbatch or share, share), step_config.autocast_dtype
        compile_for_training(self.state.network, images, self.device, dtype, deterministic=config.deterministic)

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
            "data_share": self.history.shares().get("data_share"),
            "data_wait_s": self.history.time.spent(Purpose.DATA),
            "phase": self.loop.phase or self.retries.trouble or self.saver.trouble,
            "lines": [*self.retries.lines, *self.saver.lines, *self.watcher.lines()],
        }

    def run(self) -> None:
        """Train to the goal, or until the pulse asks to stop; see `TrainingLoop.run`."""
        config, state = self.config, self.state
        commits = (
            Commits(config, self.output, state, self.checkpoints, self.saver, self.world_size)
            if self.rank == 0
            else None
        )
        self.history = History(
            self.output, self.device, config.num_timesteps, self.clock, put=commits.row if commits else None
        )
        self.loop = TrainingLoop(
            config=config,
            state=state,
            batches=self._batches(),
            step=self.step,
            history=self.history,
            cadences=self._cadences(),
            commits=commits,
            watcher=self.watcher,
            pulse=self.pulse,
            notice=self.notice,
            world_size=self.world_size,
            # NCCL takes tensors of GPUs alone; every rank makes the group.
            hosts=dist.new_group(backend="gloo") if self.world_size > 1 and self.device.type == "cuda" else None,
        )
        self.pulse.tell(self.beat)
        self.loop.run()

    def _batches(self) -> Batches:
        config = self.config
        source = BatchSource(
            config=config,
            data=self.data,
            num_classes=self.state.network.config.num_classes,
            image_shape=self.image_shape,
            device=self.device,
            rank=self.rank,
            world_size=self.world_size,
        )
        draw = Blocks(source, config.batch_size, steps_per_block(config, self.image_shape, self.device))
        steps = range(self.state.images_seen, config.total_images, config.batch_size)
        return Batches(draw, steps, batches_ahead(self.device, config.threads), self.device, self.retries)

    def _cadences(self) -> Cadences:
        config, batch_size = self.config, self.config.batch_size
        earlier = committed_places(self.output, config.total_images) if self.rank == 0 else []
        return Cadences(
            rows=Cadence(batch_size, config.history_images, config.history_seconds, self.clock, _ROW_SHARE),
            checkpoints=Cadence(batch_size, config.checkpoint_images, 60 * config.checkpoint_minutes, self.clock),
            points=Cadence(
                batch_size,
                images_between_points(config),
                60 * config.watch_minutes,
                self.clock,
                apart=POINTS_APART,
                last_images=max(earlier, default=0),
            ),
            looks=Cadence(batch_size, 1, _LOOK_S, self.clock),
        )
