"""Records of the pipeline's runs: plain data, independent of the tracking service that receives it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """A data set that a run read.

    Attributes:
        name: What people call it.
        uri: Where it is.
        digest: Of its content.
        purpose: What the run used it for; MLflow calls it the data set's context.
    """

    name: str
    uri: str
    digest: str
    purpose: str


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file of weights, recorded by its URI and not copied.

    Attributes:
        name: The model's name, for people.
        uri: The address of the file.
        sha256: The digest of its bytes, for finding it again.
        kind: The type of the model, for filtering.
    """

    name: str
    uri: str
    sha256: str
    kind: str = "ddpm"


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run of the pipeline: one recipe on one data set; or a record about such runs, of another kind.

    Attributes:
        key: The run's identity. The same key always leads to the same run.
        name: The run's name, for people.
        params: Every stage's settings, so that runs can be compared by settings and figures together.
        inputs: The data sets it starts from.
        tags: Links to other places, such as the report's.
        kind: The value of its tag `ddpm.stage`; a stage's run has the stage's name there.
    """

    key: str
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)
    kind: str = "pipeline"


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """Everything to record about a sealed stage.

    Attributes:
        key: The stage key.
        digest: The sealed output's digest.
        metrics: Figures about the whole. Settings and counts belong in params and tags.
        history: Rows with `images_seen`, `time_ms` and figures.
        files: Small artifacts by name.
        inputs: The data sets that the stage read.
        tags: Further tags, such as the output's URI.
        model: The snapshot, if the stage made one.
    """

    key: str
    digest: str
    metrics: dict[str, float] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)
    model: ModelFile | None = None
