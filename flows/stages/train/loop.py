"""The loop of training: steps from the images seen to the goal; rank 0 has rows, checkpoints and points committed."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn

from ddpm_core.train_step import StepResult
from flows.stages.train.batches import Batch, Batches
from flows.stages.train.commits import Commits
from flows.stages.train.config import TrainConfig
from flows.stages.train.history import History, Purpose
from flows.stages.train.points import Cadence
from flows.stages.train.state import TrainingState
from flows.stages.train.watch.watcher import Watcher
from infra.compute.heartbeat import GRACE_S, Pulse
from infra.compute.preemption import Notice, PreemptedError
from infra.errors import DdpmError

Step = Callable[[nn.Module, Batch], StepResult]
# A stopped run's share of the grace for its last checkpoint; the rest is for what ends after it.
_LAST_SAVE_S = 0.75 * GRACE_S


@dataclass(kw_only=True)
class Cadences:
    """The images or times at which rows, checkpoints, points and looks for a drain of a worker's node are due."""

    rows: Cadence
    checkpoints: Cadence
    points: Cadence
    looks: Cadence


@dataclass(kw_only=True)
class TrainingLoop:
    """One worker's share of the run.

    Attributes:
        config: The stage's settings.
        state: Changed by each step.
        batches: Gives the batch of each step.
        step: Takes the steps.
        history: Receives each step's result.
        cadences: When rows, checkpoints and points are due.
        commits: Has the state committed; None on all ranks but the first.
        watcher: Receives the points and may work between steps.
        pulse: Says when to stop.
        notice: Says when this worker's machine is about to go.
        world_size: Workers in the group.
        hosts: The group in which hosts exchange what they know; None for the workers' own.
        phase: Work other than steps in progress, such as "saving".
    """

    config: TrainConfig
    state: TrainingState
    batches: Batches
    step: Step
    history: History
    cadences: Cadences
    commits: Commits | None
    watcher: Watcher
    pulse: Pulse
    notice: Notice
    world_size: int = 1
    hosts: dist.ProcessGroup | None = None
    phase: str = field(default="", init=False)
    _is_drained: bool = field(default=False, init=False)

    def run(self) -> None:
        """Train to the goal, or until the pulse or a notice asks to stop; rank 0 commits checkpoints and the snapshot.

        If it is asked to stop, it leaves a checkpoint of the last step and no snapshot. Everything is committed when
        it returns.

        Raises:
            DivergedError: If gradients, or the averaged weights at the goal, stay non-finite.
            DdpmError: The error of the store, if it lasts.
            PreemptedError: After the last step was saved, if a worker's machine is about to go.
        """
        model: nn.Module = self.state.network
        if self.world_size > 1:
            model = nn.parallel.DistributedDataParallel(model)
        model.train()
        with self.batches:
            if self.commits is None:
                self._train(model)
                return
            with self.commits.saver as saver:
                try:
                    self._train(model)
                except BaseException:
                    with contextlib.suppress(DdpmError):  # checkpoints before the error are kept, if that is possible
                        saver.flush(_LAST_SAVE_S)
                    raise

    def _train(self, model: nn.Module) -> None:
        config, state, time = self.config, self.state, self.history.time
        if self.commits is not None and state.images_seen:
            self._catch_up(self.commits)
        while state.images_seen < config.total_images:
            with time.on(Purpose.DATA):
                batch = self.batches.take(state.images_seen, until=lambda: self._is_to_go)
            if batch is None:
                self._leave()
                return
            result = self.step(model, batch)
            self.history.add(result, batch.noise.t, config.batch_size)
            done = state.images_seen >= config.total_images
            # Ranks have clocks of their own, and only the first is asked to stop: all follow any that says yes.
            stop, leave, row_is_due, look = self._agree(
                [
                    self.pulse.stop,
                    self.notice.is_given,
                    self._is_first and self.cadences.rows.time_is_over(),
                    self._is_first and self.cadences.looks.time_is_over(),
                ]
            )
            stopping = (stop or leave) and not done
            saving = look and self._drain_has_begun()
            if done or row_is_due or self.cadences.rows.is_due(state.images_seen, by_time=False):
                self._commit_row(result)
            if self.commits is not None:
                self._commit(self.commits, done=done, stopping=stopping, saving=saving)
            if stopping and not stop:
                self._agree([True])  # Ray ends the group at the first error, and the first rank may still save
                raise PreemptedError(f"left at {state.images_seen} images")
            if stopping:
                return

    def _leave(self) -> None:
        """Save the last step; asked to go while the data is away, no rank can take the step at which all would agree.

        Raises:
            PreemptedError: If this worker's machine is about to go.
        """
        if self.commits is not None and self.state.images_seen:
            with self.history.time.on(Purpose.CHECKPOINT):
                self._take(self.commits, checkpoint=True, point=False, done=False, stopping=True)
        if not self.pulse.stop:
            raise PreemptedError(f"left at {self.state.images_seen} images")

    @property
    def _is_first(self) -> bool:
        return self.commits is not None

    @property
    def _is_to_go(self) -> bool:
        return self.pulse.stop or self.notice.is_given

    def _agree(self, wishes: Sequence[bool]) -> list[bool]:
        """Return for each wish whether any rank has it; this is the one exchange per step beside the gradients."""
        if self.world_size == 1:
            return list(wishes)
        # On the host, because a read from a GPU would wait for the step that it still computes.
        flags = torch.tensor(wishes, dtype=torch.uint8)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self.hosts)
        return [bool(flag) for flag in flags.tolist()]

    def _commit_row(self, result: StepResult) -> None:
        state = self.state
        rate, scale = state.optimizer.param_groups[0]["lr"], result.loss_scale
        self.history.commit(state.images_seen, rate, result.grad_norm, scale.scale if scale else None)
        self.cadences.rows.restart()

    def _drain_has_begun(self) -> bool:
        """Tell whether Ray has begun to drain a worker's node since the last look; training goes on until it goes."""
        self.cadences.looks.restart()
        before, self._is_drained = self._is_drained, self.notice.node_is_drained()
        return self._is_drained and not before

    def _catch_up(self, commits: Commits) -> None:
        """Commit what a kill or a stop left out before the checkpoint of the resumed run: a point, or the end."""
        seen = self.state.images_seen
        done = seen >= self.config.total_images
        multiple = self.cadences.points.latest_multiple(seen)
        point = not done and multiple > 0 and not commits.has_point(multiple, seen)
        with self.history.time.on(Purpose.CHECKPOINT):
            if done or point:
                commits.take(point=point, goal=done)
            if done:
                commits.saver.flush()
        if done:
            self._watch(commits, done=done)

    def _commit(self, commits: Commits, *, done: bool, stopping: bool, saving: bool) -> None:
        """Have everything committed that is due after a step, and let the watcher work."""
        commits.saver.check()
        seen, time = self.state.images_seen, self.history.time
        checkpoint = done or stopping or saving or self.cadences.checkpoints.is_due(seen)
        point = self.cadences.points.is_due(seen) and not (done or stopping)
        if checkpoint or point:
            with time.on(Purpose.CHECKPOINT):
                self._take(commits, checkpoint=checkpoint, point=point, done=done, stopping=stopping)
        if not stopping:
            self._watch(commits, done=done)

    def _watch(self, commits: Commits, *, done: bool) -> None:
        with self.history.time.on(Purpose.WATCH):
            for place in commits.committed_points():
                self.watcher.point(*place)
            self.watcher.turn()
            if done:
                self.phase = "measuring points"
                self.watcher.finish(lambda: self._is_to_go)
                self.phase = ""

    def _take(self, commits: Commits, *, checkpoint: bool, point: bool, done: bool, stopping: bool) -> None:
        saver = commits.saver
        if not stopping and not saver.has_room():
            self.phase = "waiting to save"
            saver.await_room(until=lambda: self._is_to_go and not done)
            self.phase = ""
            if self._is_to_go and not done:
                return  # the last checkpoint comes after the next step, and a point when the run is resumed
        self.phase = "saving"
        if stopping:
            saver.drop_superseded()
        commits.take(checkpoint=checkpoint, point=point, goal=done)
        if checkpoint:
            self.cadences.checkpoints.restart()
        if point:
            self.cadences.points.restart(self.state.images_seen)
        if done:
            saver.flush()
        elif stopping:
            saver.flush(_LAST_SAVE_S)
        self.phase = ""
