"""The device and the number format of a stage with a network, as the nodes that can hold a worker of it decide."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TypeVar

from flows.nodes.environment import Environment, Work
from infra.compute.cluster import Cluster
from infra.compute.hardware import GPU_ONLY, Hardware, resolve_dtype
from infra.compute.units import Workers, workers_on
from infra.errors import DdpmError


class NetworkConfig(Protocol):
    """The settings of a stage whose workers call a network."""

    @property
    def workers(self) -> int:
        """The number of workers; 0 for as many as there is room for."""

    @property
    def threads(self) -> int:
        """CPU threads per worker."""

    @property
    def device(self) -> str:
        """`auto`, `cpu` or `cuda`."""

    @property
    def dtype(self) -> str:
        """The number format of matrix products, or `auto`."""

    @property
    def compile(self) -> bool:
        """True if the network is compiled."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return the settings with others in their place."""


C = TypeVar("C", bound=NetworkConfig)


def workers_of(config: NetworkConfig) -> Workers:
    """Return the workers of a stage whose device is resolved."""
    return workers_on(config.device, config.workers, config.threads)


def nodes_for(
    config: C, cluster: Cluster, stage: str, on_wait: Callable[[str], None], *, group: bool = False
) -> tuple[C, list[Hardware]]:
    """Return the settings with their device resolved, and the hardware of the nodes that can hold a worker.

    Args:
        config: The stage's settings.
        cluster: The place of its work.
        stage: The stage.
        on_wait: Receives a line if there is a wait for nodes.
        group: Whether all workers must be there at once.

    Raises:
        ConfigError: If a GPU is asked for in this process, and this machine has none.
        ResourceError: If no node can hold a worker, or one does not answer.
    """
    device = cluster.nodes.device(config.device, cpus=config.threads, stage=stage)
    config = config.model_copy(update={"device": device})
    workers = workers_of(config)
    if group:
        cluster.nodes.make_room(workers, stage=stage, on_wait=on_wait)
    return config, list(cluster.nodes.hold(workers, stage=stage, on_wait=on_wait).values())


def resolve(config: C, cluster: Cluster, stage: str, on_wait: Callable[[str], None], *, group: bool = False) -> C:
    """Return the settings with device and number format resolved; see `nodes_for`.

    Raises:
        ConfigError: If the device is not there, or has no such number format.
        ResourceError: If no node can hold a worker, or one does not answer.
    """
    config, nodes = nodes_for(config, cluster, stage, on_wait, group=group)
    return config.model_copy(update={"dtype": resolve_dtype(config.dtype, config.device, nodes)})


def environment_of(work: Work, config: NetworkConfig, settings: Mapping[str, str]) -> Environment:
    """Return the parts of the environment that count for a stage whose device and number format are resolved.

    Args:
        work: The kind of work.
        config: The stage's settings.
        settings: Further settings that can change the last bits, by name.
    """
    return Environment(
        work=work,
        device=config.device,
        settings={"dtype": config.dtype, **settings},
        compiles=config.compile,
        workers=workers_of(config),
    )


def check_device(config: object, cluster: Cluster, stage: str) -> None:
    """Refuse what only a GPU can do on a cluster without one, before the first work of a run that comes to it.

    A cluster that brings nodes by itself is asked when the stage begins.

    Args:
        config: A stage's settings.
        cluster: The place of its work.
        stage: The stage.

    Raises:
        ConfigError: If a processor has no such number format, or this machine has no GPU for this process.
        ResourceError: If no node has a GPU.
    """
    device, dtype = getattr(config, "device", "cpu"), getattr(config, "dtype", "auto")
    cpus = getattr(config, "threads", 1)
    if device != "cuda" and dtype not in GPU_ONLY:
        return
    try:
        device = cluster.nodes.device(device, cpus=cpus, stage=stage)
        if device == "cpu":
            resolve_dtype(dtype, device, [])
        elif cluster.nodes.has_room(worker := workers_on(device, 1, cpus), stage=stage):
            resolve_dtype(dtype, device, list(cluster.nodes.hold(worker, stage=stage).values()))
    except DdpmError as error:
        error.stage = stage
        raise
