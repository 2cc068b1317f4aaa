"""The commits of rank 0 along training: checkpoints, points with their averages, the snapshot at the goal, and rows."""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ddpm_core.network.unet import UNetConfig
from flows.snapshot import encode_snapshot
from flows.stages.train.averages import AVERAGES, SIGMA_RELS, encode_averages
from flows.stages.train.checkpoints import SNAPSHOTS, Checkpoints
from flows.stages.train.config import TrainConfig
from flows.stages.train.objective import make_objective, schedule_settings
from flows.stages.train.points import POINTS
from flows.stages.train.saver import Copies, Job, Saver
from flows.stages.train.state import TrainingState, below
from flows.stages.train.watch.records import committed_places
from infra.digests import Json
from infra.errors import DivergedError
from infra.outputs.plan import Output


class Point(NamedTuple):
    """A committed point: its place in images seen, and copies of the averaged weights by name."""

    images_seen: int
    weights: dict[str, Tensor]


class Commits:
    """Hands copies of the state to the saver.

    Args:
        config: The stage's settings.
        output: The output to commit to.
        state: The state to copy.
        checkpoints: The run's checkpoints.
        saver: Commits in its thread.
        world_size: Workers in the group, which a checkpoint records.

    Attributes:
        not_finite: Number of checkpoints and points that were left out because a number in them is not finite.
    """

    def __init__(
        self,
        config: TrainConfig,
        output: Output,
        state: TrainingState,
        checkpoints: Checkpoints,
        saver: Saver,
        world_size: int = 1,
    ) -> None:
        self.saver, self.not_finite = saver, 0
        self._config, self._output, self._state = config, output, state
        self._checkpoints, self._world_size = checkpoints, world_size
        self._points: deque[Point] = deque()
        saver.lines += checkpoints.lines

    def committed_points(self) -> list[Point]:
        """Return the points committed since the last call."""
        return [self._points.popleft() for _ in range(len(self._points))]

    def has_point(self, first: int, last: int) -> bool:
        """Tell whether a point is committed from one place to another, as one or as the snapshot of a shorter run."""
        return any(place >= first for place in committed_places(self._output, last))

    def row(self, name: str, data: bytes) -> None:
        """Commit a row of the history."""
        self.saver.put(Job(name=f"the row {name}", commit=lambda: self._output.store.put_if_absent(name, data)))

    def take(self, *, checkpoint: bool = False, point: bool = False, goal: bool = False) -> None:
        """Copy the state once and commit a checkpoint, a point, or the goal's snapshot and averages, of it."""
        images_seen = self._state.images_seen
        tensors = self._state.tensors()
        if not checkpoint:
            tensors = {name: value for name, value in tensors.items() if name.startswith(("ema.", "averages."))}
        copies = Copies(tensors)
        if checkpoint:
            self._put_checkpoint(copies, images_seen)
        if goal or point:
            self._put_point(copies, images_seen, is_goal=goal)

    def _put_checkpoint(self, copies: Copies, images_seen: int) -> None:
        scalars = {
            "images_seen": images_seen,
            "skipped_in_a_row": self._state.skips.in_a_row,
            "world_size": self._world_size,
        }
        name = f"the checkpoint at {images_seen:,} images"

        def commit() -> None:
            tensors = copies.on_host()
            if not self._leave_out(name, tensors):
                self._checkpoints.commit(images_seen, tensors, scalars)

        self.saver.put(Job(name=name, commit=commit, copies=copies, is_superseded_by_later=True))

    def _put_point(self, copies: Copies, images_seen: int, *, is_goal: bool) -> None:
        unet, steps = self._state.ema.config, images_seen // self._config.batch_size
        name = f"the snapshot at {images_seen:,} images"

        def commit() -> None:
            tensors = copies.on_host()
            weights, averages = below("ema.", tensors), below("averages.", tensors)
            if is_goal and not _are_finite(weights):
                raise DivergedError(
                    "the averaged weights are not finite",
                    stage="train",
                    item=f"images_seen {images_seen}",
                    remedy="lower train.learning_rate; checkpoints before this are kept",
                )
            if not self._leave_out(name, weights):
                folder = SNAPSHOTS if is_goal else POINTS
                data = self._snapshot(weights, unet, images_seen)
                if averages and not self._leave_out(f"the power averages at {images_seen:,} images", averages):
                    about = {"sigma_rels": list(SIGMA_RELS), "steps": steps}
                    self._commit_file(AVERAGES, images_seen, encode_averages(averages, images_seen, steps), about)
                self._commit_file(folder, images_seen, data)
                self._points.append(Point(images_seen, below("ema.", copies.tensors)))

        self.saver.put(Job(name=name, commit=commit, copies=copies))

    def _commit_file(self, folder: str, images_seen: int, data: bytes, facts: Json | None = None) -> None:
        self._output.commit(f"{folder}/{images_seen:012d}", "safetensors", data, facts or {})

    def _snapshot(self, weights: dict[str, Tensor], unet: UNetConfig, images_seen: int) -> bytes:
        objective = make_objective(self._config)
        return encode_snapshot(
            weights,
            unet,
            schedule_settings(self._config),
            images_seen,
            parameterisation=objective.parameterisation,
            variance=objective.variance if objective.variance.is_learned else None,
        )

    def _leave_out(self, name: str, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether to leave tensors out because a number in them is not finite; count it, and say it once."""
        if _are_finite(tensors):
            return False
        self.not_finite += 1
        if self.not_finite == 1:
            self.saver.lines.append(
                f"{name} is left out, as are later ones like it: it holds numbers that are not finite"
            )
        return True


def _are_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether all numbers are finite.

    NumPy computes on this thread alone and leaves torch's threads to the steps. It passes NaN on, so that the least and
    the greatest number of an array are finite if and only if all are.
    """
    arrays: list[Any] = [tensor.numpy() for tensor in tensors.values() if tensor.numel()]
    return all(bool(np.isfinite(array.min())) and bool(np.isfinite(array.max())) for array in arrays)
