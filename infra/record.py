"""Records of the pipeline's runs: plain data, independent of the tracking service that receives it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """A data set that a run read.

    Attributes:
        name: What people call it.
        uri: Where it is: a path, an s3:// or http(s):// address, or `code:FUNCTION` if a package brings it along.
        digest: Of its content.
        purpose: What the run used it for; MLflow calls it the data set's context.
    """

    name: str
    uri: str
    digest: str
    purpose: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a place along a run.

    Attributes:
        name: The name that it shares with those of other places, such as `train/samples`.
        step: Its place, as in the history: images seen.
        time_ms: When it was made, in milliseconds since 1970.
        png: Its bytes.
    """

    name: str
    step: int
    time_ms: int
    png: bytes = field(repr=False)


def no_pictures() -> Sequence[Picture]:
    """Return none."""
    return ()


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file of weights, recorded by its URI and not copied.

    Attributes:
        name: The model's name, for people.
        uri: The address of the file.
        sha256: The digest of its bytes, for finding it again.
        kind: The type of the model, for filtering.
        params: The settings that it was made with.
        tags: Further tags, such as the key of the stage that made it.
    """

    name: str
    uri: str
    sha256: str
    kind: str = "ddpm"
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelFigure:
    """A figure by which models can be compared.

    Attributes:
        name: Its name, such as `fid`.
        value: Its value.
        standard_error: Its standard error; None if it is not known.
        terms: The number of independent terms that the standard error rests on; None if it is not known.
        error_needs: The requirement of a standard error that is not met; empty if there is one, or nothing gives one.
        higher_is_better: Whether a larger value is better; None if neither is.
        conditions: The conditions of the measurement by name. Two figures are alike if these are equal.
    """

    name: str
    value: float
    standard_error: float | None
    terms: int | None = None
    error_needs: str = ""
    higher_is_better: bool | None
    conditions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """A model with its figures.

    Attributes:
        file: Its weights.
        figures: The figures by which it can be compared, the most important first.
    """

    file: ModelFile
    figures: Sequence[ModelFigure]


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The wish to register a model.

    Attributes:
        name: The name to register it under.
        champion_by: The name of the figure that decides on the champion; empty for the first one that can.
        run_name: The name of the run that made the model.
        measured: The model and its figures.
    """

    name: str
    champion_by: str
    run_name: str
    measured: MeasuredModel


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run of the pipeline: one recipe on one data set; or a record about such runs, of another kind.

    Attributes:
        key: The run's identity. The same key always leads to the same run.
        name: The run's name, for people.
        params: Every stage's settings, so that runs can be compared by settings and figures together.
        inputs: The data sets it starts from.
        tags: Links to other places, such as the report's.
        origin: Tags of the user and the code that it came from; empty for those of this process.
        kind: The value of its tag `ddpm.stage`; a stage's run has the stage's name there.
    """

    key: str
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
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
        pictures: Makes the pictures along the stage; called only if they are delivered.
        inputs: The data sets that the stage read.
        tags: Further tags, such as the output's URI.
        model: The snapshot, if the stage made one.
        measured: The snapshot with its figures, if the stage measured one.
    """

    key: str
    digest: str
    metrics: dict[str, float] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    pictures: Callable[[], Sequence[Picture]] = no_pictures
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)
    model: ModelFile | None = None
    measured: MeasuredModel | None = None
