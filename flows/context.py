"""The outside world as a stage receives it, beside its config and its inputs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from infra.cluster import Cluster
from infra.store import Store


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of a stage at work.

    Attributes:
        done: Units of work done, those of earlier attempts included.
        total: The goal.
        start: Done before this attempt, which resumes from there.
        kept: What survives if the process is killed now.
        unit: What is counted.
        loss: Training's recent mean loss.
        rate: `unit` per second of this attempt, if the work measures it itself.
        phase: What goes on beside counting, such as "starting Ray" or "saving".
    """

    done: int
    total: int
    start: int = 0
    kept: int = 0
    unit: str = "images"
    loss: float | None = None
    rate: float | None = None
    phase: str = ""


def _ignore(*_: object) -> None:
    pass


def _no_lease(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Context:
    """The outside world of a stage: its place of work and its listeners.

    Attributes:
        store: Where outputs go.
        cluster: Where work is done.
        force: Start a new attempt beside what is there.
        on_progress: Receives how far the stage is: its starting point at once, then now and then.
        on_history: Receives new rows of the training history as they are committed.
        on_data: Receives the data set's key as soon as the source is listed, before any work.
        lease: Holds an output's folder for this run while it works there; waits for a run that holds it.
    """

    store: Store
    cluster: Cluster
    force: bool = False
    on_progress: Callable[[Progress], None] = _ignore
    on_history: Callable[[list[dict[str, Any]]], None] = _ignore
    on_data: Callable[[str], None] = _ignore
    lease: Callable[[str], AbstractContextManager[None]] = _no_lease

    @property
    def starting(self) -> str:
        """The phase before the first work of a stage."""
        return "starting Ray" if self.cluster.mode == "ray" else "starting"
