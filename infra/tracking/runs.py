"""The runs of one pipeline in MLflow: the pipeline's own, and one per stage below it."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.record import TrackedRun
from infra.tracking.environment import set_environment
from infra.tracking.origin import origin_tags

if TYPE_CHECKING:
    from infra.tracking.store import RunStore

PIPELINE_RUN = "pipeline"  # the stage that the pipeline's own run is tagged with
# The digest of the record that a run received whole, and the address of the model version that it registered.
PUBLISHED, REGISTERED = "ddpm.published", "ddpm.registered"
# The key of the pipeline, which the runs of its stages share.
PIPELINE_KEY = "ddpm.pipeline_key"
# The name of the root of a run's outputs, and the lease below it that the run's process holds.
ROOT, LEASE = "ddpm.root", "ddpm.lease"
_STAGE = "ddpm.stage"
_PARENT = "mlflow.parentRunId"


class Missing(NamedTuple):
    """The parts of an ended pipeline that a server misses.

    Attributes:
        parts: The stages, and `pipeline`, whose records it does not have whole.
        is_registered: Whether the model is registered, or was not to be.
        is_deleted: Whether somebody deleted the pipeline's run.
    """

    parts: Sequence[str]
    is_registered: bool
    is_deleted: bool


class PipelineRuns:
    """The runs of one pipeline, each found or created by the first delivery that needs it; every call may raise.

    Args:
        uri: MLflow's tracking URI.
        experiment: The experiment's name.
        artifact_folder: The folder of a local store's artifacts; a server decides for itself.
        is_late: Whether the work has ended, so that no run is claimed.

    Attributes:
        pipeline: The pipeline's run as it is to be recorded; None until the tracker starts.
        store: MLflow's calls; None until the first connection.
        parent: ID of the pipeline's run; empty until it is known.
        children: IDs of the stages' runs that are known, by stage.
    """

    def __init__(self, uri: str, experiment: str, artifact_folder: Path | None, *, is_late: bool = False) -> None:
        self._is_late = is_late
        self._uri, self._experiment, self._folder = uri, experiment, artifact_folder
        self._attempt = uuid.uuid4().hex
        self._counted: set[str] = set()
        self.pipeline: TrackedRun | None = None
        self.store: RunStore | None = None
        self.parent = ""
        self.children: dict[str, str] = {}

    def connected(self) -> "RunStore":
        """Return MLflow's calls; connect, and find or create the experiment, if that has not been done yet."""
        if self.store is None:
            set_environment()
            from infra.tracking.store import RunStore

            self.store = RunStore(self._uri, self._experiment, self._folder)
        return self.store

    def parent_run(self) -> str:
        """Return the ID of the pipeline's run; find or create the run if it is not known yet."""
        run = self.pipeline
        if not self.parent and run is not None:
            self.parent = self._find_or_create(run, run.name, run.kind, run.tags)
        return self.parent

    def child_run(self, stage: str) -> str:
        """Return the ID of a stage's run below the pipeline's; find or create the run if it is not known yet."""
        run, parent = self.pipeline, self.parent_run()
        if stage not in self.children and run is not None:
            # The stage alone would give every curve of a chart the same name.
            self.children[stage] = self._find_or_create(run, f"{stage} {run.name}", stage, {_PARENT: parent})
        return self.children[stage]

    def missing(self, run: TrackedRun, digests: Mapping[str, str], register_as: str) -> Missing:
        """Ask once what is missing of a pipeline that has ended.

        Args:
            run: The pipeline's run.
            digests: The digests of the records, by stage and for `pipeline`.
            register_as: The name that its model was to be registered under; empty for none.
        """
        found = {stored.tags.get(_STAGE, ""): stored for stored in self.connected().find({PIPELINE_KEY: run.key})}
        parent = found.get(run.kind)
        whole = {stage for stage, stored in found.items() if stored.is_whole(PUBLISHED, digests.get(stage, ""))}
        registered = parent.tags.get(REGISTERED, "") if parent else ""
        return Missing(
            parts=[stage for stage in digests if stage not in whole],
            is_registered=not register_as or registered.startswith(f"models:/{register_as}/"),
            is_deleted=parent is not None and parent.is_deleted,
        )

    def _find_or_create(self, run: TrackedRun, name: str, stage: str, tags: dict[str, str]) -> str:
        origin = run.origin or origin_tags()
        return self.connected().find_or_create(name, {PIPELINE_KEY: run.key, _STAGE: stage}, origin | tags)

    def adopt(self, keys: Sequence[str], tags: dict[str, str]) -> None:
        """Tag the pipelines' runs of these keys, and put those below this run that are below none, or a deleted one."""
        store = self.connected()
        for key in keys:
            if run := store.first({PIPELINE_KEY: key, _STAGE: PIPELINE_RUN}):
                former = store.tags(run).get(_PARENT, "")
                below = {} if former and store.is_there(former) else {_PARENT: self.parent_run()}
                store.set_tags(run, below | tags)

    def begin_parent(self) -> None:
        """Find or create the pipeline's run and claim it."""
        self.claim(self.parent_run())

    def begin(self, stage: str) -> None:
        """Find or create a stage's run and claim it, together with the pipeline's."""
        child = self.child_run(stage)
        self.claim(child, self.parent)
        if self.connected().tags(child).get(_PARENT) != self.parent:  # the former parent was deleted
            self.connected().set_tags(child, {_PARENT: self.parent})

    def claim(self, *runs: str) -> None:
        """Mark runs as this attempt's and as running; count the attempt once per run."""
        if self._is_late:
            return
        for run in runs:
            self.connected().claim(run, self._attempt, count=run not in self._counted)
            self._counted.add(run)

    def abandon(self, runs: Sequence[str], status: str) -> None:
        """End runs unfinished unless another attempt has claimed them."""
        for run in runs:
            self.connected().abandon(run, self._attempt, status)

    def probe(self) -> None:
        """Make one cheap call, which fails if the server does not answer."""
        self.connected().tags(self.parent_run())

    def log_history(self, stage: str, rows: Sequence[dict[str, Any]]) -> None:
        """Log rows of a stage's history to its run and to the pipeline's."""
        for run in (self.children[stage], self.parent):
            self.connected().log_history(run, stage, rows)
