"""Ray: connect, ask the nodes what they have, run units over actors, run a function on a group of workers.

The same calls run in this process if the mode is `in-process`; results do not depend on the mode.
"""

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from infra.compute.answers import Probe
from infra.compute.autoscaler import has_autoscaler
from infra.compute.beside import Beside, Opening
from infra.compute.connection import Connection
from infra.compute.cores import usable_cores
from infra.compute.group import GroupFunction, fit_group
from infra.compute.hardware import group_backend
from infra.compute.heartbeat import GRACE_S, LocalHeartbeat, Watch
from infra.compute.nodes import Nodes
from infra.compute.occupancy import Occupancy
from infra.compute.ray_errors import plain_errors
from infra.compute.ray_heartbeat import start_heartbeat
from infra.compute.ray_signals import interrupts_kept
from infra.compute.room import too_large
from infra.compute.units import PATIENCE_S, UnitTask, Workers, fitting, start_ledger, stream_units
from infra.errors import ResourceError, Term

Mode = Literal["ray", "in-process"]


def _ignore(_: object) -> None:
    pass


@dataclass
class Cluster:
    """A connection to Ray, made when the first work needs it and closed at the end of the `with` block.

    A connection that this process has already is used, and left open.

    Attributes:
        mode: `ray`, or `in-process` for no Ray at all.
        address: A running cluster's address; None starts a local one that dies with this process.
        cpus: The least number of CPUs of a local one; never less than this machine's own count.
        patience_s: How long to wait for room: after nodes were lost, or for an autoscaler's.
        probe: Returns the hardware of the machine that calls it; None for what torch finds there.
        autoscales: Tells whether the cluster brings nodes by itself.
        nodes: Answers questions about its nodes.
        occupancy: Counts the time for which its workers are held.
    """

    mode: Mode = "ray"
    address: str | None = None
    cpus: int = 1
    patience_s: float = PATIENCE_S
    probe: Probe | None = None
    autoscales: Callable[[], bool] = has_autoscaler
    nodes: Nodes = field(init=False)
    occupancy: Occupancy = field(default_factory=Occupancy, init=False)
    _connection: Connection = field(init=False)
    _ledger: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._connection = Connection(self.address, self.cpus)
        self.nodes = Nodes(
            connection=None if self.mode == "in-process" else self._connection,
            patience_s=self.patience_s,
            probe=self.probe,
            autoscales=self.autoscales,
        )

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger = None
        self.nodes.forget()
        self._connection.close()

    def run_units(
        self, task: UnitTask, units: Sequence[int], *, workers: Workers, stage: str, on_done: Callable[[int], None]
    ) -> None:
        """Run every unit at least once; return when all are done.

        Args:
            task: Opened once per worker.
            units: Their numbers.
            workers: The most workers, never more than units, 0 for as many as there is room for; those that do not
                fit yet join when nodes do.
            stage: For error lines.
            on_done: Called here, in this process, with each unit's number.

        Raises:
            ResourceError: If the cluster is too small, or a unit keeps killing its worker.
            DdpmError: The error that a unit raised.
        """
        if not units:
            return
        if self.mode == "in-process":
            with _settings_kept(), self.occupancy.of(replace(workers, count=1)):
                run = task.open()
                for unit in units:
                    run(unit)
                    on_done(unit)
            return
        workers = self.nodes.sized(workers, stage=stage)
        workers = replace(workers, count=min(workers.count, len(units)))
        self.connect()
        with interrupts_kept(), plain_errors(stage):
            if not fitting(workers):
                raise too_large(replace(workers, count=1), stage)
            if self._ledger is None:
                self._ledger = start_ledger()
            with self.occupancy.of(workers):
                for unit, retries in stream_units(task, units, workers, stage, self._ledger, self.patience_s):
                    self.occupancy.retries += retries
                    on_done(unit)

    def run_group(
        self,
        function: GroupFunction,
        config: dict[str, Any],
        *,
        workers: Workers,
        stage: str,
        run_folder: str,
        on_poll: Callable[[], int],
        on_beat: Callable[[dict[str, Any]], None] = _ignore,
        grace_s: float = GRACE_S,
    ) -> None:
        """Run `function(config, beat)` on every worker of one torch.distributed group, by Ray Train.

        If a signal or a listener raises here meanwhile, the group is asked to stop and has `grace_s` to save its work;
        then the same exception is raised, however the group ended.

        Args:
            function: Importable on the workers; it learns rank and world size from torch.distributed. Rank 0 calls
                `beat` about once a second, from a thread beside its work (see `infra.compute.heartbeat.Pulse`).
            config: JSON values.
            workers: The group.
            stage: For error lines.
            run_folder: The folder of Ray Train's own files for this attempt; reachable from all workers.
            on_poll: Called here once per second while the group works; returns how much is committed so far.
            on_beat: Called here with each new beat of rank 0. While the group saves after an interrupt it is not
                called, but once at the end.
            grace_s: How long an interrupted group may take to save; one without a beat yet ends at once.
        """
        workers = self.nodes.sized(workers, stage=stage, group=True)
        if self.mode == "in-process":
            if workers.count != 1:
                raise ResourceError(
                    f"{workers.count} workers do not run in one process",
                    stage=stage,
                    remedy=f"{Term.ONE_WORKER} or use Ray",
                )
            watch = Watch(heartbeat=LocalHeartbeat(), on_poll=on_poll, on_beat=on_beat, grace_s=grace_s)
            with _settings_kept(), self.occupancy.of(workers):
                watch.follow(partial(function, config, watch.heartbeat.beat))
            return
        backend = (
            group_backend(workers.gpus, self.nodes.hold(workers, stage=stage).values()) if workers.gpus else "gloo"
        )
        self.connect()
        with interrupts_kept(), plain_errors(stage):
            if fitting(workers) < workers.count:
                raise too_large(workers, stage)
            watch = Watch(heartbeat=start_heartbeat(), on_poll=on_poll, on_beat=on_beat, grace_s=grace_s)
            with self.occupancy.of(workers):
                fit_group(function, config, workers, stage, run_folder, watch, self.patience_s, backend, self.occupancy)

    def beside(self, opening: Opening, values: dict[str, Any], *, group: Workers) -> Beside | None:
        """Return one more worker like those of a group, to work beside it; None if there is no room for it.

        A local Ray counts more CPUs than this machine has, for its own processes, so the machine's own count decides.

        Args:
            opening: Opens the work on the worker.
            values: Its argument, JSON values.
            group: The group that will start.

        Raises:
            ResourceError: If Ray does not answer.
        """
        if self.mode == "in-process":
            return None
        self.connect()
        if self.address is None and group.cpus * (group.count + 1) > usable_cores():
            return None
        with plain_errors(""):
            beside = Beside(opening, values, group)
            return beside if beside.fits() and beside.has_room() else None

    def connect(self) -> None:
        """Connect now, or do nothing if a connection exists or the mode needs none.

        Raises:
            ResourceError: If Ray does not answer.
        """
        if self.mode == "ray":
            self._connection.open()

    @property
    def dashboard(self) -> str:
        """The address of Ray's dashboard; empty before there is a connection, or if there is no dashboard."""
        return self._connection.dashboard if self.mode == "ray" else ""

    def warm_up(self) -> None:
        """Import the parts of Ray whose first use takes seconds."""
        if self.mode == "ray":
            importlib.import_module("ray.data")
            importlib.import_module("ray.train.torch")


def _settings_kept() -> AbstractContextManager[None]:
    # Not with this module: torch takes two seconds, and every command imports the cluster.
    from infra.compute.device import settings_kept

    return settings_kept()
