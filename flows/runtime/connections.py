"""The cluster and the tracker of a run, from its settings and the usual variables; neither is connected yet."""

import os
from collections.abc import Callable
from contextlib import suppress

from flows.root import named_root, tracking_place
from flows.runtime.settings import RunSettings
from infra.compute.cluster import Cluster
from infra.compute.jobs import Jobs
from infra.errors import ConfigError, DdpmError
from infra.storage.download import without_secrets
from infra.storage.store import Store
from infra.tracking.runs import LEASE, ROOT
from infra.tracking.tracker import Tracker

JOBS_VARIABLE = "RAY_API_SERVER_ADDRESS"


def open_cluster(settings: RunSettings, cpus: int) -> Cluster:
    """Return a run's cluster, not yet connected: the one at RAY_ADDRESS, or a local one with room for every stage.

    A run whose stages are jobs starts no Ray and connects to none: its cluster is this process.

    Raises:
        ConfigError: If RAY_ADDRESS is a Ray Client address.
    """
    patience_s = 60 * settings.patience
    if settings.execution == "job":
        return Cluster(mode="in-process", patience_s=patience_s)
    return Cluster(mode=settings.mode, address=cluster_address(), cpus=cpus, patience_s=patience_s)


def open_jobs(settings: RunSettings, say: Callable[[str], None]) -> Jobs | None:
    """Return the jobs of a run's cluster, not yet connected; None if its stages run in its own process.

    Args:
        settings: The run's settings.
        say: Receives lines for the user.

    Raises:
        ConfigError: If no address is set, or it is not one of a jobs server.
    """
    address = jobs_address(settings)
    return Jobs(address=address, patience_s=60 * settings.patience, say=say) if address else None


def process_tags(store: Store, lease: str) -> dict[str, str]:
    """Return the tags by which a run's process is looked for; none if the store does not answer.

    Args:
        store: The root.
        lease: The lease that the process holds, below the root.
    """
    try:
        return {ROOT: named_root(store), LEASE: lease}
    except DdpmError:
        return {}


def jobs_address(settings: RunSettings) -> str:
    """Return the address of a run's jobs server; empty if its stages run in its own process.

    Raises:
        ConfigError: If its stages are jobs and no address is set, or it is not one of a jobs server.
    """
    if settings.execution != "job":
        return ""
    address = settings.ray_jobs or os.environ.get(JOBS_VARIABLE, "")
    if not address.startswith(("http://", "https://")):
        shown = without_secrets(address if "//" in address else f"//{address}").removeprefix("//")
        raise ConfigError(
            f"not the address of a jobs server: {shown}" if address else "is not set, and execution=job needs it",
            item="ray_jobs",
            remedy=f"set --ray-jobs or {JOBS_VARIABLE}, such as http://head:8265",
        )
    return address.rstrip("/")


def cluster_address() -> str | None:
    """Return RAY_ADDRESS, or None if it is not set.

    Raises:
        ConfigError: If it is a Ray Client address.
    """
    address = os.environ.get("RAY_ADDRESS") or None
    if address and address.startswith("ray://"):
        raise ConfigError(
            "Ray Client connections break during long work",
            item=f"RAY_ADDRESS {address}",
            remedy="run inside the cluster with its host:port, or unset it for a local Ray",
        )
    return address


def open_tracker(settings: RunSettings, store: Store) -> Tracker:
    """Return a run's tracker, not yet connected: the one at MLFLOW_TRACKING_URI, or a database below the root.

    If the root is not local, the database is in `local_folder`. If tracking is off, the tracker does nothing.
    """
    uri, folder = tracking_place(store.uri)
    if not settings.tracking:
        return Tracker("", settings.experiment, None)
    if folder is not None:
        # If the folder cannot be made, MLflow reports it, and the work continues.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    return Tracker(uri, settings.experiment, folder / "mlartifacts" if folder else None)
