"""The cluster and the tracker of a run, from its settings and the usual variables; neither is connected yet."""

import os
from contextlib import suppress

from flows.root import tracking_place
from flows.runtime.settings import RunSettings
from infra.compute.cluster import Cluster
from infra.errors import ConfigError
from infra.storage.store import Store
from infra.tracking.tracker import Tracker


def open_cluster(settings: RunSettings, cpus: int) -> Cluster:
    """Return a run's cluster, not yet connected: the one at RAY_ADDRESS, or a local one with room for every stage.

    Raises:
        ConfigError: If RAY_ADDRESS is a Ray Client address.
    """
    return Cluster(mode=settings.mode, address=cluster_address(), cpus=cpus, patience_s=60 * settings.patience)


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
