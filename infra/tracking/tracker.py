"""MLflow: one run per stage under the pipeline's run, found again by key, so that repeating a record changes nothing.

Tracking never hurts the work. The sealed outputs are the truth; a server that takes nothing costs one warning, and the
same command later delivers the missing records.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from infra.record import MeasuredModel, Registration, StageRecord, TrackedRun
from infra.tracking.outbox import Outbox
from infra.tracking.pages import run_page, runs_page, server_command, shown
from infra.tracking.runs import PIPELINE_RUN, PipelineRuns

_KEY, _PUBLISHED = "ddpm.stage_key", "ddpm.published"
# Places in the outbox: the experiment, the pipeline's run; the other places are named by stages.
_EXPERIMENT, _RUN, _REGISTRY = "experiment", PIPELINE_RUN, "registry"


class Tracker:
    """Records one pipeline's runs.

    Args:
        uri: MLflow's tracking URI, or empty for no tracking.
        experiment: The experiment's name.
        artifact_folder: The folder of a local store's artifacts; a server decides for itself.
        pause_s: The pause of a kind of call after a failure, in seconds.
    """

    def __init__(self, uri: str, experiment: str, artifact_folder: Path | None, *, pause_s: float = 60.0) -> None:
        self._uri = uri
        self._outbox = Outbox(uri, pause_s)
        self._runs = PipelineRuns(uri, experiment, artifact_folder)
        self._run: TrackedRun | None = None
        self._closed = False
        self._begun: set[str] = set()
        self._working: set[str] = set()
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._unsealed: dict[str, str] = {}
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
        self._rows.setdefault(stage, []).extend(rows)
        self._outbox.put("metrics", stage, lambda: self._deliver_rows(stage))
        if stage in self._working:
            self._outbox.put("status", stage, lambda: self._runs.claim(self._runs.children[stage], self._runs.parent))
        self._outbox.send({stage, _RUN})

    def publish(self, stage: str, record: StageRecord) -> None:
        """Record everything about a sealed stage, once, and finish its run."""
        if stage not in self._begun:
            return
        self._working.discard(stage)
        self._outbox.put("connection", stage, lambda: self._offer(stage, record))
        self._outbox.send({stage, _RUN}, now=True)
        self._seal()

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

    def close(self, metrics: dict[str, float], files: dict[str, bytes], tags: dict[str, str]) -> None:
        """Give the pipeline's run its figures, report and tags, send undelivered records again, and finish it."""
        run = self._run
        if run is None:
            return
        self._closed = True
        # A cheap call first shows whether the server answers, so that not every kind waits for a timeout.
        self._outbox.put("connection", _RUN, self._runs.probe)
        self._outbox.put("metrics", _RUN, lambda: self._runs.connected().log_figures(self._runs.parent, metrics))
        self._outbox.put("files", _RUN, lambda: self._runs.connected().log_files(self._runs.parent, files))
        self._outbox.put("tags", _RUN, lambda: self._runs.connected().set_tags(self._runs.parent, run.tags | tags))
        self._outbox.put("status", _RUN, lambda: self._runs.connected().finish(self._runs.parent))
        self._outbox.send(None, now=True)
        self._seal()

    def finish(self) -> None:
        """Finish the pipeline's run if nothing else did, as a run that ends with some stage is never closed."""
        if self._run is None or self._closed:
            return
        self._outbox.put("status", _RUN, lambda: self._runs.connected().finish(self._runs.parent))
        self._outbox.send({_RUN}, now=True)

    def _connect(self) -> None:
        self._runs.connected()

    def _deliver_rows(self, stage: str) -> None:
        self._runs.log_history(stage, self._rows[stage])
        self._rows[stage] = []

    def _offer(self, stage: str, record: StageRecord) -> None:
        """Put the deliveries of a record into the outbox, unless the run has them already."""
        store, child = self._runs.connected(), self._runs.child_run(stage)
        if store.tags(child).get(_PUBLISHED) == record.digest:
            self._outbox.drop("metrics", stage)
        else:
            self._unsealed[stage] = record.digest
            self._outbox.put("metrics", stage, lambda: self._deliver_metrics(stage, record))
            self._outbox.put("inputs", stage, lambda: store.log_inputs(child, record.inputs))
            self._outbox.put("files", stage, lambda: store.log_files(child, record.files))
            self._outbox.put("tags", stage, lambda: store.set_tags(child, {_KEY: record.key, **record.tags}))
            if record.model is not None:
                model = record.model
                self._outbox.put("model", stage, lambda: store.log_model(child, model))
            if record.measured is not None:
                file = record.measured.file
                self._outbox.put(
                    "model", stage, lambda: store.log_model_figures(child, file, record.metrics, record.inputs)
                )
        self._outbox.put("status", stage, lambda: store.finish(child))

    def _register(self, request: Registration) -> None:
        from infra.tracking.registry import GATE, ModelRegistry

        store, run = self._runs.connected(), self._runs.parent_run()
        model = store.find_or_create_model(run, request.measured.file)
        registered = ModelRegistry(store.client).register(request, model, run)
        self._decision = registered.line
        if registered.is_new_champion:
            self._champion = (registered.uri, registered.line)
        store.set_tags(run, {"ddpm.registered": registered.uri, GATE: registered.line})

    def _deliver_metrics(self, stage: str, record: StageRecord) -> None:
        self._runs.log_history(stage, record.history)
        self._runs.connected().log_figures(self._runs.children[stage], record.metrics)
        self._rows[stage] = []

    def _seal(self) -> None:
        """Mark stages that are delivered completely, so that no later run delivers them again."""
        for stage, digest in list(self._unsealed.items()):
            if self._outbox.is_empty(stage):
                del self._unsealed[stage]
                self._put_seal(self._runs.children[stage], stage, digest)
                self._outbox.send({stage, _RUN})

    def _put_seal(self, child: str, stage: str, digest: str) -> None:
        self._outbox.put("tags", stage, lambda: self._runs.connected().set_tags(child, {_PUBLISHED: digest}))
