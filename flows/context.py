"""What a stage is handed beside its config and its inputs: the outside world."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.cluster import Cluster
from infra.store import Store


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where a stage works and whom it tells.

    Attributes:
        store: Where outputs go.
        cluster: Where work is done.
        force: Start a new attempt beside what is there.
        on_progress: Told (done, total) now and then.
        on_history: Told new rows of the training history as they are committed.
    """

    store: Store
    cluster: Cluster
    force: bool = False
    on_progress: Callable[[int, int], None] = _ignore
    on_history: Callable[[list[dict[str, Any]]], None] = _ignore
