"""A stage's account of its result: plain data, which the runner shows and tracks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.artifacts import Dataset
from infra.record import DatasetInput, MeasuredModel, ModelFile, Picture, no_pictures
from infra.storage.store import Store

# A name, a figure and a note about it.
Row = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Account:
    """A stage's account of its result: plain data, which the runner shows and tracks.

    Attributes:
        line: A line for the terminal and the run's log.
        metrics: Figures about the whole output, by their names in MLflow.
        files: Small files by name.
        pictures: Makes the pictures along the stage; called only if somebody takes them.
        inputs: The data sets that the stage read.
        tags: Tags for MLflow, such as the snapshot's digest.
        history: Rows with `images_seen`, `time_ms` and figures.
        model: The snapshot, if the stage made one.
        measured: The snapshot with its figures, if the stage measured one.
        rows: Rows of the final table of a run.
        links: Addresses to show at the end of a run, by name.
    """

    line: str
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    pictures: Callable[[], Sequence[Picture]] = no_pictures
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    model: ModelFile | None = None
    measured: MeasuredModel | None = None
    rows: Sequence[Row] = ()
    links: dict[str, str] = field(default_factory=dict)


def dataset_input(dataset: Dataset, store: Store, purpose: str) -> DatasetInput:
    """Return the data set in the form in which MLflow lists the inputs of a run.

    Args:
        dataset: The data set that was read.
        store: The store that holds it.
        purpose: The purpose of reading it, such as "training".
    """
    kind = dataset.manifest(store).facts["settings"]["kind"]
    return DatasetInput(name=kind, uri=f"{store.uri}/{dataset.name}", digest=dataset.digest, purpose=purpose)
