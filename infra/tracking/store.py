"""MLflow's own calls about runs and models. Each may raise, and each may be repeated: a repetition changes nothing.

Importing MLflow takes seconds, so the tracker imports this module only when it connects.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    InputTag,
    LifecycleStage,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.entities import DatasetInput as MlflowInput
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES

from infra.record import DatasetInput, ModelFile, Picture
from infra.tracking.data_source import data_source
from infra.tracking.metrics import log_figures, log_metrics, log_model_figures
from infra.tracking.step_pictures import FOLDER, picture_files
from infra.tracking.stored_run import StoredRun

ATTEMPT, ATTEMPTS = "ddpm.attempt", "ddpm.attempts"
URI, SHA256 = "ddpm.uri", "ddpm.sha256"
_MAX_VALUE = 6000
_BATCH = 100
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
_DATASET_DIGEST_DIGITS = 36
_NOT_IN_MODEL_NAMES = "/:.%\"'"
# The columns of a history row that give its position; all others are figures.
_PLACE = ("images_seen", "time_ms")


def make_client(uri: str) -> MlflowClient:
    """Return MLflow's client of a tracking server, which also serves the registry unless MLFLOW_REGISTRY_URI is set."""
    for name in ("alembic", "mlflow"):  # MLflow's import sets their levels
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


class RunStore:
    """The runs of one experiment.

    Args:
        uri: MLflow's tracking URI.
        experiment: Its name; a missing experiment is created.
        artifact_folder: Where a local store keeps artifacts; a server decides for itself.

    Attributes:
        client: MLflow's client.
        experiment_id: The experiment's ID.
    """

    def __init__(self, uri: str, experiment: str, artifact_folder: Path | None) -> None:
        self.client = make_client(uri)
        self.experiment_id = self._experiment(experiment, artifact_folder.as_uri() if artifact_folder else None)

    def _experiment(self, name: str, location: str | None) -> str:
        found = self.client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name, location))
        except MlflowException:
            found = self.client.get_experiment_by_name(name)
            if found:  # another process was faster
                return str(found.experiment_id)
            raise

    def find_or_create(self, name: str, identity: dict[str, str], tags: dict[str, str]) -> str:
        """The ID of the run with these identity tags; a new one gets the name and further tags."""
        if found := self.first(identity):
            return found
        created = self.client.create_run(self.experiment_id, run_name=name, tags=identity | _cut(tags))
        return str(created.info.run_id)

    def first(self, identity: dict[str, str]) -> str:
        """Return the ID of the oldest run with these tags; empty if there is none."""
        order = ["start_time ASC"]
        found = self.client.search_runs([self.experiment_id], _query(identity), max_results=1, order_by=order)
        return str(found[0].info.run_id) if found else ""

    def find(self, identity: dict[str, str]) -> list[StoredRun]:
        """Return the runs with these tags, deleted ones first, then those that are there, the oldest last."""
        found = self.client.search_runs(
            [self.experiment_id], _query(identity), run_view_type=ViewType.ALL, order_by=["start_time DESC"]
        )
        stored = [
            StoredRun(
                dict(run.data.tags), run.info.status == "FINISHED", run.info.lifecycle_stage == LifecycleStage.DELETED
            )
            for run in found
        ]
        return sorted(stored, key=lambda run: not run.is_deleted)

    def claim(self, run: str, attempt: str, *, count: bool = False) -> None:
        """Mark a run as this attempt's and as running, unless it is finished.

        Args:
            run: Its ID.
            attempt: The attempt's ID.
            count: Whether to count the attempt.
        """
        stored = self.client.get_run(run)
        if stored.info.status == "FINISHED":
            return
        tags = {} if stored.data.tags.get(ATTEMPT) == attempt else {ATTEMPT: attempt}
        if count:
            tags[ATTEMPTS] = str(int(stored.data.tags.get(ATTEMPTS, 0)) + 1)
        if stored.info.status != "RUNNING":
            self.client.update_run(run, status="RUNNING")
        self.set_tags(run, tags)

    def abandon(self, run: str, attempt: str, status: str) -> None:
        """End a run unfinished, if no other attempt has claimed it since."""
        stored = self.client.get_run(run)
        if stored.data.tags.get(ATTEMPT) == attempt and stored.info.status not in ("FINISHED", status):
            self.client.set_terminated(run, status)

    def finish(self, run: str) -> None:
        """End a run as finished."""
        if self.client.get_run(run).info.status != "FINISHED":
            self.client.set_terminated(run, "FINISHED")

    def tags(self, run: str) -> dict[str, str]:
        """A run's tags."""
        return dict(self.client.get_run(run).data.tags)

    def is_there(self, run: str) -> bool:
        """Tell whether there is a run of this ID that nobody has deleted."""
        try:
            return str(self.client.get_run(run).info.lifecycle_stage) != LifecycleStage.DELETED
        except MlflowException as error:
            if error.error_code == _NOT_THERE:
                return False
            raise

    def set_tags(self, run: str, tags: dict[str, str]) -> None:
        """Set tags; their values are cut to the length that MLflow takes."""
        rows = [RunTag(name, value) for name, value in _cut(tags).items()]
        for start in range(0, len(rows), _BATCH):
            self.client.log_batch(run, tags=rows[start : start + _BATCH])

    def add_tags(self, run: str, tags: dict[str, str]) -> None:
        """Set those of the tags that the run does not have."""
        known = self.tags(run)
        self.set_tags(run, {name: value for name, value in tags.items() if name not in known})

    def log_params(self, run: str, params: dict[str, Any]) -> None:
        """Log the params that the run does not have yet. MLflow refuses to change one."""
        known = self.client.get_run(run).data.params
        rows = [Param(name, str(value)[:_MAX_VALUE]) for name, value in params.items() if name not in known]
        for start in range(0, len(rows), _BATCH):
            self.client.log_batch(run, params=rows[start : start + _BATCH])

    def log_history(self, run: str, stage: str, rows: Sequence[dict[str, Any]]) -> None:
        """Log a curve's points by images seen, as metrics `stage/name`."""
        log_metrics(
            self.client,
            run,
            [
                Metric(f"{stage}/{name}", value, row["time_ms"], row["images_seen"])
                for row in rows
                for name, value in row.items()
                if name not in _PLACE and value is not None
            ],
        )

    def log_usage(self, run: str, rows: Sequence[dict[str, float]]) -> None:
        """Log how busy a machine was, by seconds since the run's start, as metrics `system/name`."""
        started = self.client.get_run(run).info.start_time
        log_metrics(
            self.client,
            run,
            [
                Metric(f"system/{name}", value, int(row["time_ms"]), int(row["time_ms"] - started) // 1000)
                for row in rows
                for name, value in row.items()
                if name not in _PLACE
            ],
        )

    def log_figures(self, run: str, figures: dict[str, float], step: int = 0) -> None:
        """Log the figures of a whole stage or pipeline.

        Args:
            run: The run's ID.
            figures: Their values by name.
            step: Their step in MLflow's charts; a figure that has a later one keeps that.
        """
        log_figures(self.client, run, figures, step)

    def log_inputs(self, run: str, inputs: Sequence[DatasetInput]) -> None:
        """Log the data sets that a run read."""
        rows = [
            MlflowInput(
                Dataset(item.name, item.digest[:_DATASET_DIGEST_DIGITS], *data_source(item.uri)),
                tags=[InputTag("mlflow.data.context", item.purpose)],
            )
            for item in inputs
        ]
        if rows:
            self.client.log_inputs(run, datasets=rows)

    def log_files(self, run: str, files: dict[str, bytes]) -> None:
        """Upload artifacts, small ones first: a server that refuses a large one still gets the others.

        Args:
            run: The run's ID.
            files: Their bytes by name; a name may have a folder in front.
        """
        with tempfile.TemporaryDirectory() as folder:
            for name, data in sorted(files.items(), key=lambda item: len(item[1])):
                place, _, file = name.rpartition("/")
                path = Path(folder) / file
                path.write_bytes(data)
                self.client.log_artifact(run, str(path), place or None)

    def log_pictures(self, run: str, pictures: Sequence[Picture]) -> None:
        """Upload pictures by step, and let MLflow's pages look for them."""
        if not pictures:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, data in picture_files(pictures):
                (Path(folder) / name).write_bytes(data)
            self.client.log_artifacts(run, folder, FOLDER)
        self.set_tags(run, {MLFLOW_LOGGED_IMAGES: "True"})

    def log_model(self, run: str, model: ModelFile) -> None:
        """Record weights as a model, once per experiment, without a copy of them, and link them to the run."""
        stored = self.find_or_create_model(run, model)
        outputs = self.client.get_run(run).outputs
        if stored.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
            self.client.log_outputs(run, [LoggedModelOutput(stored.model_id, 0)])

    def log_model_figures(
        self, run: str, model: ModelFile, figures: dict[str, float], inputs: Sequence[DatasetInput]
    ) -> None:
        """Log the figures of a model to its own page, with the data set, and list the model as an input of the run."""
        stored = self.find_or_create_model(run, model)
        listed = self.client.get_run(run).inputs
        if stored.model_id not in {one.model_id for one in (listed.model_inputs if listed else ())}:
            self.client.log_inputs(run, models=[LoggedModelInput(stored.model_id)])
        data = {
            name: value
            for item in inputs[:1]
            for name, value in (("dataset_name", item.name), ("dataset_digest", item.digest[:_DATASET_DIGEST_DIGITS]))
        }
        log_model_figures(self.client, run, stored, figures, data)

    def find_or_create_model(self, run: str, model: ModelFile) -> LoggedModel:
        """The experiment's model with these weights; a new one comes from the run."""
        found = self.client.search_logged_models(
            [self.experiment_id], f"tags.`{SHA256}` = '{model.sha256}'", max_results=1
        )
        stored = found[0] if found else self._create_model(run, model)
        if str(stored.status) != "READY":
            self.client.finalize_logged_model(stored.model_id, "READY")
        return stored

    def _create_model(self, run: str, model: ModelFile) -> LoggedModel:
        name = "".join("-" if char in _NOT_IN_MODEL_NAMES else char for char in model.name)
        # The last tag tells MLflow that there are no files of its own to load.
        tags = {URI: model.uri, SHA256: model.sha256, **model.tags, "mlflow.model.isExternal": "true"}
        return self.client.create_logged_model(
            self.experiment_id,
            name=name,
            source_run_id=run,
            tags=tags,
            params={name: str(value)[:_MAX_VALUE] for name, value in model.params.items()},
            model_type=model.kind,
        )


def _query(tags: dict[str, str]) -> str:
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _cut(tags: dict[str, str]) -> dict[str, str]:
    return {name: value[:_MAX_VALUE] for name, value in tags.items()}
