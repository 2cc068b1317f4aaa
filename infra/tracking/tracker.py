"""MLflow: one run per stage under the pipeline's run, found again by key, so that repeating a record changes nothing.

Tracking never hurts the work. The sealed outputs are the truth; a server that takes nothing costs one warning, and the
missing records can be delivered later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from infra.digests import canonical_json, sha256
from infra.record import MeasuredModel, Registration, StageRecord, TrackedRun
from infra.tracking.outbox import Outbox
from infra.tracking.pages import no_answer, run_page, runs_page, server_command, shown
from infra.tracking.publications import Publications
from infra.tracking.runs import PIPELINE_RUN, REGISTERED, Missing, PipelineRuns

# MLflow shows it as the description of a run.
_NOTE = "mlflow.note.content"
# Places in the outbox: the experiment, the pipeline's run; the other places are named by stages.
_EXPERIMENT, _RUN, _REGISTRY, _USAGE, _ADOPTED = "experiment", PIPELINE_RUN, "registry", "usage", "adopted"


def files_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest by which the pipeline's own run tells that it has these files."""
    return sha256(canonical_json({name: sha256(data) for name, data in files.items()}))


class Tracker:
    """Records one pipeline's runs.

    Args:
        uri: MLflow's tracking URI, or empty for no tracking.
        experiment: The experiment's name.
        artifact_folder: The folder of a local store's artifacts; a server decides for itself.
        pause_s: The pause of a kind of call after a failure, in seconds.
        is_late: Whether the work ended before: its runs get what they miss, and no further attempt is counted.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_folder: Path | None,
        *,
        pause_s: float = 60.0,
        is_late: bool = False,
    ) -> None:
        self._uri = uri
        self._outbox = Outbox(uri, pause_s)
        self._runs = PipelineRuns(uri, experiment, artifact_folder, is_late=is_late)
        self._publications = Publications(self._outbox, self._runs)
        self._run: TrackedRun | None = None
        self._closed = False
        self._begun: set[str] = set()
        self._working: set[str] = set()
        self._usage: list[dict[str, float]] = []
        self._decision = ""
        self._champion: tuple[str, str] | None = None

    @property
    def uri(self) -> str:
        """The tracking URI without a password."""
        return shown(self._uri)

    @property
    def complaint(self) -> str:
        """One line that names everything undelivered, or nothing."""
        return self._outbox.complaint if self._uri else "tracking is off"

    @property
    def run_id(self) -> str:
        """The pipeline run's ID in MLflow, or nothing."""
        return self._runs.parent

    @property
    def page(self) -> str:
        """The pipeline run's page, if a server serves it already."""
        return (
            run_page(self._uri, self._runs.store.experiment_id, self._runs.parent)
            if self._runs.store and self._runs.parent
            else ""
        )

    @property
    def runs_page(self) -> str:
        """The page that lists the experiment's runs, or nothing if the experiment is unknown."""
        return runs_page(self._uri, self._runs.store.experiment_id) if self._runs.store else ""

    @property
    def server_command(self) -> str:
        """The command that serves a store on this machine, or nothing if a server does already."""
        return server_command(self._uri)

    def connect(self) -> None:
        """Connect; find or create the experiment."""
        if self._uri:
            self._outbox.put("connection", _EXPERIMENT, self._connect)
            self._outbox.send(set())

    def missing(self, run: TrackedRun, digests: Mapping[str, str], register_as: str) -> Missing:
        """Ask what the server misses of a run that has ended; write nothing.

        Args:
            run: The pipeline's run.
            digests: The digest of each stage's sealed output, and `files_digest` under `pipeline`.
            register_as: The name that its model was to be registered under; empty for none.

        Raises:
            StorageError: If it does not answer.
        """
        try:
            return self._runs.missing(run, digests, register_as)
        except Exception as error:  # because each kind of server raises errors of its own
            raise no_answer(error, self._uri) from error

    def start(self, run: TrackedRun) -> None:
        """Find or create the pipeline's run, as running."""
        if not self._uri:
            return
        self._run = self._runs.pipeline = run
        self._outbox.put("connection", _RUN, self._runs.begin_parent)
        self._outbox.put("tags", _RUN, lambda: self._runs.connected().set_tags(self._runs.parent, run.tags))
        self._outbox.put("params", _RUN, lambda: self._runs.connected().log_params(self._runs.parent, run.params))
        self._outbox.put("inputs", _RUN, lambda: self._runs.connected().log_inputs(self._runs.parent, run.inputs))
        self._outbox.send({_RUN})

    def tag(self, tags: dict[str, str]) -> None:
        """Give the pipeline's run further tags."""
        if self._run is None:
            return
        run = self._run = self._runs.pipeline = replace(self._run, tags=self._run.tags | tags)
        self._outbox.put("tags", _RUN, lambda: self._runs.connected().set_tags(self._runs.parent, run.tags))
        self._outbox.send({_RUN})

    def adopt(self, keys: Sequence[str], tags: dict[str, str]) -> None:
        """Tag the pipelines' runs of these keys, and put those below this run that are below no other run.

        A key without a run is passed over.
        """
        if self._run is None:
            return
        self._outbox.put("tags", _ADOPTED, lambda: self._runs.adopt(keys, tags))
        self._outbox.send({_ADOPTED, _RUN})

    def begin(self, stage: str, params: dict[str, Any]) -> None:
        """Find or create the stage's run of this pipeline run; both are running."""
        if self._run is None:
            return
        self._closed = False
        self._begun.add(stage)
        self._working.add(stage)
        self._outbox.put("connection", stage, lambda: self._runs.begin(stage))
        self._outbox.put("params", stage, lambda: self._runs.connected().log_params(self._runs.children[stage], params))
        self._outbox.send({stage, _RUN})

    def log_history(self, stage: str, rows: Sequence[dict[str, Any]]) -> None:
        """Log new rows of the history while the stage works, to its run and to the pipeline's."""
        if stage not in self._begun:
            return
        self._publications.add_rows(stage, list(rows))
        if stage in self._working:
            self._outbox.put("status", stage, lambda: self._runs.claim(self._runs.children[stage], self._runs.parent))
        self._outbox.send({stage, _RUN})

    def log_usage(self, rows: Sequence[dict[str, float]]) -> None:
        """Log how busy the machine was, to the pipeline's run; MLflow's pages show it among its system metrics.

        Args:
            rows: Figures by name, and their moments under `time_ms`.
        """
        if self._run is None or not rows:
            return
        self._usage.extend(rows)
        self._outbox.put("metrics", _USAGE, self._deliver_usage)
        self._outbox.send({_USAGE, _RUN})

    def publish(self, stage: str, record: StageRecord) -> None:
        """Record everything about a sealed stage, once, and finish its run."""
        if stage not in self._begun:
            return
        self._working.discard(stage)
        self._outbox.put("connection", stage, lambda: self._publications.offer(stage, record))
        self._outbox.send({stage, _RUN}, now=True)
        self._publications.mark()

    def register(self, name: str, champion_by: str, measured: MeasuredModel) -> None:
        """Register a measured model under a name, and let the gate decide whether it becomes the champion.

        Args:
            name: The name in MLflow's registry.
            champion_by: The name of the figure that decides; empty for the first one that can.
            measured: The model and its figures.
        """
        if self._run is None:
            return
        request = Registration(name=name, champion_by=champion_by, run_name=self._run.name, measured=measured)
        self._outbox.put("registration", _REGISTRY, lambda: self._register(request))
        self._outbox.send({_REGISTRY, _RUN}, now=True)

    def take_decision(self) -> str:
        """Return the gate's decision in one line; nothing if there is none since the last call."""
        taken, self._decision = self._decision, ""
        return taken

    def take_champion(self) -> tuple[str, str] | None:
        """Return the address of the new champion and the gate's decision; None if there is none since the last call."""
        taken, self._champion = self._champion, None
        return taken

    def end(self, stage: str, status: Literal["FAILED", "KILLED"]) -> None:
        """End the runs of a stage that failed or was stopped, and of its pipeline, unless another attempt has them."""
        if not self._runs.parent:
            return
        self._closed = True
        self._working.discard(stage)
        runs = [run for run in (self._runs.children.get(stage, ""), self._runs.parent) if run]
        self._outbox.put("status", stage, lambda: self._runs.abandon(runs, status))
        # No later call would try again.
        self._outbox.send({stage, _RUN}, now=True)

    def close(
        self,
        metrics: dict[str, float],
        files: dict[str, bytes],
        tags: dict[str, str],
        note: str = "",
        *,
        step: int = 0,
    ) -> None:
        """Give the pipeline's run its figures, report and tags, send undelivered records again, and finish it.

        Args:
            metrics: The figures of the whole pipeline.
            files: Its files by name.
            tags: Further tags.
            note: The description on its page, as Markdown; one that is there already stays.
            step: The step of the figures in MLflow's charts.
        """
        run = self._run
        if run is None:
            return
        self._closed = True
        # A cheap call first shows whether the server answers, so that not every kind waits for a timeout.
        self._outbox.put("connection", _RUN, self._runs.probe)
        self._outbox.put("metrics", _RUN, lambda: self._runs.connected().log_figures(self._runs.parent, metrics, step))
        self._outbox.put("files", _RUN, lambda: self._runs.connected().log_files(self._runs.parent, files))
        self._outbox.put("tags", _RUN, lambda: self._set_last_tags(run.tags | tags, note))
        self._outbox.put("status", _RUN, lambda: self._runs.connected().finish(self._runs.parent))
        self._outbox.send(None, now=True)
        self._publications.close(files_digest(files))
        self._publications.mark()

    def finish(self) -> None:
        """Finish the pipeline's run if nothing else did, as a run that ends with some stage is never closed."""
        if self._run is None or self._closed:
            return
        self._outbox.put("status", _RUN, lambda: self._runs.connected().finish(self._runs.parent))
        self._outbox.send({_RUN}, now=True)

    def _connect(self) -> None:
        self._runs.connected()

    def _set_last_tags(self, tags: dict[str, str], note: str) -> None:
        self._runs.connected().set_tags(self._runs.parent, tags)
        if note:
            self._runs.connected().add_tags(self._runs.parent, {_NOTE: note})

    def _deliver_usage(self) -> None:
        self._runs.connected().log_usage(self._runs.parent_run(), self._usage)
        self._usage = []

    def _register(self, request: Registration) -> None:
        from infra.tracking.registry import GATE, ModelRegistry

        store, run = self._runs.connected(), self._runs.parent_run()
        model = store.find_or_create_model(run, request.measured.file)
        registered = ModelRegistry(store.client).register(request, model, run)
        self._decision = registered.line
        if registered.is_new_champion:
            self._champion = (registered.uri, registered.line)
        store.set_tags(run, {REGISTERED: registered.uri, GATE: registered.line})
