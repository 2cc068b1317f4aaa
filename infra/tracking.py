"""MLflow: one run a stage under one parent, found again by key, so that saying things twice says them once.

Tracking never hurts the work: the sealed outputs are the truth, a server that is away costs one warning, and the same
command later delivers what is missing.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STAGE, _KEY, _PIPELINE = "ddpm.stage", "ddpm.stage_key", "ddpm.pipeline_key"
_PUBLISHED = "ddpm.published"
_MAX_VALUE = 6000
_BATCH = 1000
_PARAM_BATCH = 100
_DATASET_DIGEST_DIGITS = 36
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # MLflow's own default blocks about four minutes a call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """A data set that a run read."""

    name: str
    uri: str
    digest: str
    context: str


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """Everything that a sealed stage has to say.

    Attributes:
        key: The stage key.
        digest: The sealed output's digest.
        metrics: Figures about the whole.
        history: Rows with `images_seen`, `time_ms` and figures.
        files: Small artifacts by name.
        inputs: Data sets read.
        tags: Further tags, such as the output's URI.
    """

    key: str
    digest: str
    metrics: dict[str, float] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)


class Tracker:
    """Writes one pipeline's runs.

    Args:
        uri: MLflow's tracking URI, or empty for no tracking.
        experiment: Its name.
        artifact_folder: Where a local store keeps artifacts; a server decides for itself.
        pipeline_key: With the stage's name, what a run is found by.
    """

    def __init__(self, uri: str, experiment: str, artifact_folder: Path | None, pipeline_key: str) -> None:
        self._uri, self._experiment, self._folder, self._pipeline = uri, experiment, artifact_folder, pipeline_key
        self._client: Any = None
        self._experiment_id = ""
        self._parent = ""
        self._runs: dict[str, str] = {}
        self.complaint = "" if uri else "tracking is off"

    @property
    def uri(self) -> str:
        """The tracking URI, without what may be a password in it."""
        scheme, separator, rest = self._uri.partition("://")
        place, slash, path = rest.partition("/")
        return f"{scheme}{separator}{place.rsplit('@', 1)[-1]}{slash}{path}"

    def open(self, parent: str) -> None:
        """Connect; find or create the experiment and, where it gets a name, the parent run."""
        self._guarded(lambda: self._open(parent))

    def begin(self, stage: str, params: dict[str, Any]) -> None:
        """Find or create the stage's run of this pipeline, as running."""
        self._guarded(lambda: self._begin(stage, params))

    def log_history(self, stage: str, rows: Sequence[dict[str, Any]]) -> None:
        """Log new rows of the history while the stage works."""
        self._guarded(lambda: self._log_history(self._runs[stage], rows))

    def publish(self, stage: str, record: StageRecord) -> None:
        """Say all there is about a sealed stage, once, and end its run."""
        self._guarded(lambda: self._publish(stage, record))

    def fail(self, stage: str) -> None:
        """End the run of a stage that failed, and its parent."""
        self._guarded(lambda: self._end([self._runs[stage], self._parent], "FAILED"))

    def close(self, metrics: dict[str, float], files: dict[str, bytes]) -> None:
        """Give the parent the pipeline's figures and its report, and end it."""
        self._guarded(lambda: self._close(metrics, files))

    def _guarded(self, call: Callable[[], None]) -> None:
        if self.complaint:
            return
        try:
            call()
        except Exception as error:  # whatever a tracking server does wrong, the work goes on
            # MLflow's own errors quote the address with the password in it.
            said = str(error).replace(self._uri.rstrip("/"), self.uri.rstrip("/")).strip()
            reason = said.splitlines()[0][:200] if said else type(error).__name__
            self.complaint = f"MLflow at {self.uri} did not answer ({reason})"
            logger.warning("%s; the work goes on, and the same command later delivers what is missing", self.complaint)

    def _open(self, parent: str) -> None:
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow"):  # after the import, which sets their levels
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        location = self._folder.as_uri() if self._folder else None
        self._experiment_id = (
            found.experiment_id if found else self._client.create_experiment(self._experiment, location)
        )
        if parent:
            self._parent = self._find_or_create(parent, "pipeline")

    def _find_or_create(self, name: str, stage: str) -> str:
        tags = {_PIPELINE: self._pipeline, _STAGE: stage}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self._client.search_runs([self._experiment_id], query, max_results=1)
        if found:
            run = found[0].info
            if run.status != "FINISHED":
                self._client.update_run(run.run_id, status="RUNNING")
            return str(run.run_id)
        return str(self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id)

    def _begin(self, stage: str, params: dict[str, Any]) -> None:
        run = self._find_or_create(stage, stage)
        self._runs[stage] = run
        if self._parent:
            self._client.set_tag(run, "mlflow.parentRunId", self._parent)
        self._log_params(run, params)

    def _log_params(self, run: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(run).data.params
        new = [Param(name, str(value)[:_MAX_VALUE]) for name, value in params.items() if name not in known]
        for start in range(0, len(new), _PARAM_BATCH):
            self._client.log_batch(run, params=new[start : start + _PARAM_BATCH])

    def _log_history(self, run: str, rows: Sequence[dict[str, Any]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(f"train/{name}", value, row["time_ms"], row["images_seen"])
            for row in rows
            for name, value in row.items()
            if name not in ("images_seen", "time_ms") and value is not None
        ]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + _BATCH])

    def _publish(self, stage: str, record: StageRecord) -> None:
        run = self._runs[stage]
        stored = self._client.get_run(run)
        if stored.data.tags.get(_PUBLISHED) != record.digest:
            self._log_history(run, record.history)
            self._log_metrics(run, record.metrics)
            self._log_inputs(run, record.inputs)
            self._log_files(run, record.files)
            for name, value in {_KEY: record.key, **record.tags}.items():
                self._client.set_tag(run, name, value[:_MAX_VALUE])
            self._client.set_tag(run, _PUBLISHED, record.digest)
        self._end([run], "FINISHED")

    def _log_metrics(self, run: str, metrics: dict[str, float]) -> None:
        from mlflow.entities import Metric

        # The run's own start, not the clock: said again, a figure is the same one.
        started = self._client.get_run(run).info.start_time
        self._client.log_batch(run, metrics=[Metric(name, value, started, 0) for name, value in metrics.items()])

    def _log_inputs(self, run: str, inputs: Sequence[DatasetInput]) -> None:
        from mlflow.entities import Dataset, InputTag
        from mlflow.entities import DatasetInput as MlflowInput

        rows = [
            MlflowInput(
                Dataset(
                    name=item.name,
                    digest=item.digest[:_DATASET_DIGEST_DIGITS],
                    source_type="local",
                    source=json.dumps({"uri": item.uri}),
                ),
                tags=[InputTag("mlflow.data.context", item.context)],
            )
            for item in inputs
        ]
        if rows:
            self._client.log_inputs(run, datasets=rows)

    def _log_files(self, run: str, files: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                (Path(folder) / name).write_bytes(data)
            if files:
                self._client.log_artifacts(run, folder)

    def _close(self, metrics: dict[str, float], files: dict[str, bytes]) -> None:
        if self._parent:
            self._log_metrics(self._parent, metrics)
            self._log_files(self._parent, files)
            self._end([self._parent], "FINISHED")

    def _end(self, runs: Sequence[str], status: str) -> None:
        for run in runs:
            if run and self._client.get_run(run).info.status != status:
                self._client.set_terminated(run, status)
