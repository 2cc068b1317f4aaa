"""Questions to the nodes that a run may work on: what they have, and whether there is room for workers.

Without Ray, and with one that this process starts, the only node is this machine, and nothing is started to ask it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from infra.compute.answers import Probe, ask, holding
from infra.compute.connection import Connection
from infra.compute.cores import usable_cores
from infra.compute.hardware import Hardware, resolve_device
from infra.compute.ray_errors import plain_errors
from infra.compute.ray_signals import interrupts_kept
from infra.compute.room import await_room, too_large
from infra.compute.units import Workers, fitting
from infra.errors import ConfigError, ResourceError

# The id of this machine if it is the only node.
HERE = ""


def _ignore(_: str) -> None:
    pass


@dataclass(kw_only=True)
class Nodes:
    """The nodes of a cluster; see `Cluster` for the attributes that both have.

    Attributes:
        connection: To Ray; None if all work is done in this process.
    """

    connection: Connection | None
    patience_s: float
    probe: Probe | None
    autoscales: Callable[[], bool]
    _answers: dict[str, Hardware] = field(default_factory=dict, init=False)

    @property
    def is_one_machine(self) -> bool:
        """True if all work is done on this machine."""
        return self.connection is None or self.connection.is_to_this_machine

    def hold(self, workers: Workers, *, stage: str, on_wait: Callable[[str], None] = _ignore) -> Mapping[str, Hardware]:
        """Return the hardware of each node that can hold such a worker, by its id; at least one.

        Each node is asked once. If none can hold a worker, an autoscaler is asked for one.

        Args:
            workers: The kind of worker; its number does not matter.
            stage: For error lines.
            on_wait: Receives a line if there is a wait for a node.

        Raises:
            ConfigError: If a worker needs a GPU, and all work is done in this process on a machine without one.
            ResourceError: If no node can hold a worker, or one does not answer.
        """
        self.make_room(replace(workers, count=1), stage=stage, on_wait=on_wait)
        if self.is_one_machine:
            return {HERE: self._own()}
        with interrupts_kept(), plain_errors(stage):
            nodes = holding(workers)
            self._answers |= ask([node for node in nodes if node not in self._answers], self.probe, stage)
        found = {node: self._answers[node] for node in nodes if node in self._answers}
        blind = [node.host for node in found.values() if workers.gpus and not node.gpus]
        if blind or not found:
            raise ResourceError(
                "offers a GPU to Ray, and its torch sees none" if blind else "all nodes went away",
                item=f"node {blind[0]}" if blind else "",
                stage=stage,
                remedy="install a driver and a torch for GPUs there, or set device=cpu" if blind else "run again",
            )
        return found

    def device(self, name: str, *, cpus: int, stage: str) -> str:
        """Return `cuda` for `auto` if a node can hold a worker with a GPU, else `cpu`; another name as it is.

        Args:
            name: `auto`, `cpu` or `cuda`.
            cpus: CPUs of a worker.
            stage: For error lines.

        Raises:
            ResourceError: If Ray does not answer.
        """
        if name != "auto":
            return name
        if self.is_one_machine:
            return resolve_device(name, [self._own()])
        return "cuda" if self._fitting(Workers(cpus=cpus, gpus=1), stage) else "cpu"

    def make_room(self, workers: Workers, *, stage: str, on_wait: Callable[[str], None] = _ignore) -> None:
        """Return as soon as the nodes can hold these workers; an autoscaler is asked for nodes that are missing.

        Args:
            workers: A number of 0 stands for one.
            stage: For error lines.
            on_wait: Receives a line if there is a wait.

        Raises:
            ConfigError: If a worker needs a GPU, and all work is done in this process on a machine without one.
            ResourceError: If there is no room, and nobody brings nodes within `patience_s`.
        """
        if not self.has_room(workers, stage=stage):
            with interrupts_kept(), plain_errors(stage):
                await_room(replace(workers, count=max(workers.count, 1)), stage, self.patience_s, on_wait)

    def has_room(self, workers: Workers, *, stage: str) -> bool:
        """Tell whether the nodes can hold these workers; False means that an autoscaler may bring more.

        Args:
            workers: A number of 0 stands for one.
            stage: For error lines.

        Raises:
            ConfigError: If a worker needs a GPU, and all work is done in this process on a machine without one.
            ResourceError: If there is no room, and nobody brings nodes.
        """
        if self.is_one_machine:
            if workers.gpus and not self._own().gpus:
                raise (ConfigError if self.connection is None else ResourceError)(
                    "cuda was asked for and this machine has none", item="device", stage=stage, remedy="set device=cpu"
                )
            return True
        workers = replace(workers, count=max(workers.count, 1))
        if self._fitting(workers, stage) >= workers.count:
            return True
        with interrupts_kept(), plain_errors(stage):
            if not self.autoscales():
                raise too_large(workers, stage)
        return False

    def sized(self, workers: Workers, *, stage: str, group: bool = False) -> Workers:
        """Return workers with their number: the given one, or for 0 as many as there is room for, at least 1.

        Args:
            workers: The workers.
            stage: For error lines.
            group: Whether they work as a group, of which only workers with GPUs are more than one by themselves.

        Raises:
            ResourceError: If Ray does not answer.
        """
        if workers.count:
            return workers
        if self.connection is None or (group and not workers.gpus):
            count = 1
        elif self.is_one_machine and not workers.gpus:
            # A local Ray counts more CPUs than this machine has, for its own processes.
            count = usable_cores() // workers.cpus
        else:
            count = self._fitting(workers, stage)
        return replace(workers, count=max(count, 1))

    def forget(self) -> None:
        """Forget all answers."""
        self._answers.clear()

    def _own(self) -> Hardware:
        if HERE not in self._answers:
            self._answers[HERE] = (self.probe or _torch_probe())()
        return self._answers[HERE]

    def _fitting(self, workers: Workers, stage: str) -> int:
        assert self.connection is not None, "in one process all work is done here"
        self.connection.open()
        with interrupts_kept(), plain_errors(stage):
            return fitting(workers)


def _torch_probe() -> Probe:
    # Not with this module: torch takes two seconds, and every command imports the cluster.
    from infra.compute.probe import probe

    return probe
