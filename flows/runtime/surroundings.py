"""What surrounds the stages of one run: root, cluster, tracker, progress and the run's page.

Prefect's tasks and `ddpm stage` pass plain data; the stages of a run in one process find these live objects here.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console

from flows.runtime.progress import StageProgress
from flows.runtime.root import local_folder, resolve_root
from flows.runtime.settings import RunSettings
from flows.stage import Row, RunIdentity
from infra.compute.cluster import Cluster
from infra.errors import ConfigError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.record import TrackedRun
from infra.storage.open import open_store
from infra.storage.store import Store
from infra.tracking.tracker import Tracker

# Of lines that go to a file and not to a terminal.
_WIDTH = 120
_LEASES = ".leases"


class RunPage(Protocol):
    """The page that a workflow service keeps of this run."""

    @property
    def page(self) -> str:
        """Its address."""

    def rename(self, name: str) -> None:
        """Give the run its name."""

    def show_progress(self, stage: str, percent: float, line: str) -> None:
        """Show how far a stage is."""

    def show_page(self, key: str, markdown: str, line: str) -> None:
        """Put a page of Markdown beside the run."""

    def log(self, line: str) -> None:
        """Add a line to the run's log."""


@dataclass(kw_only=True)
class Surroundings:
    """The live objects of one run.

    Attributes:
        settings: The run's.
        store: Where outputs go.
        cluster: Where work is done.
        tracker: MLflow, or nothing.
        progress: Shows how far a stage is.
        console: The terminal.
        page: The run's page in a workflow service.
        on_data: Receives the data's key as soon as the source is listed, before any work.
        stack: Closed at the end of the run.
        run: The run, once its data is known.
        rows: The figures of the table at the end, by stage, as stages end.
        rates: Its further rows, the rate of each stage in this attempt.
        begun: Keys of the outputs that this run has begun.
    """

    settings: RunSettings
    store: Store
    cluster: Cluster
    tracker: Tracker
    progress: StageProgress
    console: Console
    page: RunPage | None
    on_data: Callable[[str], None]
    stack: ExitStack
    run: RunIdentity | None = None
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    rates: dict[str, Row] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The run's name; empty until its data is known."""
        return self.run.name if self.run else ""

    def say(self, line: str) -> None:
        """Show a line on the terminal and in the run's log."""
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        if self.page is not None:
            self.page.log(" ".join(line.split()))

    def begin(self, run: TrackedRun, recipe: str) -> None:
        """Name the run, now that its data is known, wait for an equal one at work, and open its tracking.

        Args:
            run: Its key, name and settings.
            recipe: The key of its recipe.
        """
        if self.run is not None:
            return  # a stage that is tried again finds the same data
        self.run = RunIdentity(name=run.name)
        self.say(f"{'run':>9} {run.name}")
        links = {}
        if self.page is not None:
            self.page.rename(run.name)
            links["Prefect"] = self.page.page
        if not self.settings.force:
            try:
                self.stack.enter_context(self.lease(f"{_LEASES}/{run.key}"))
            except BaseException:
                self.run = None  # so that another try begins anew
                raise
        tags = run.tags | {f"ddpm.{program.lower()}": uri for program, uri in links.items()}
        self.tracker.start(TrackedRun(key=run.key, name=run.name, params=run.params, inputs=run.inputs, tags=tags))
        links["MLflow"] = self.tracker.page
        self.run = RunIdentity(name=run.name, recipe=recipe, links={name: uri for name, uri in links.items() if uri})

    def lease(self, folder: str) -> AbstractContextManager[None]:
        """Hold a folder for this run; wait, and say for whom, while another has it."""
        holder = Holder.here(self.name, datetime.now(UTC))
        return held(self.store, f"{folder}/lease", holder, on_wait=self.say)

    def tracking_links(self) -> Mapping[str, str]:
        """Name the page of the tracked runs, and the command that serves a database without a server."""
        tracker = self.tracker
        if tracker.complaint:
            return {"tracking": tracker.complaint}
        if not tracker.server_command:
            return {"MLflow": tracker.page}
        alone = self.store.uri.startswith("s3://")
        note = "on this machine alone; MLFLOW_TRACKING_URI names a server that others see"
        return {"MLflow": tracker.runs_page, "served by": tracker.server_command} | ({"  note": note} if alone else {})


_CURRENT: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


def current_surroundings() -> Surroundings | None:
    """The surroundings of the run that is open in this context, if any."""
    return _CURRENT.get()


@contextmanager
def open_surroundings(
    settings: RunSettings, cpus: int, on_data: Callable[[str], None], page: RunPage | None = None
) -> Iterator[Surroundings]:
    """Connect what a run needs; Ray only when the first work does.

    Args:
        settings: The run's.
        cpus: The CPUs that the largest stage takes, for a local Ray.
        on_data: Receives the data's key.
        page: The run's page in a workflow service.
    """
    store = open_store(resolve_root(settings.root))
    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    tracker = open_tracker(settings, store)
    tracker.connect()
    publish = page.show_progress if page is not None else None
    log: Callable[[str], None] | None = page.log if page is not None else None
    with ExitStack() as stack:
        cluster = stack.enter_context(open_cluster(settings, cpus))
        progress = stack.enter_context(StageProgress(console, publish, log))
        opened = Surroundings(
            settings=settings,
            store=store,
            cluster=cluster,
            tracker=tracker,
            progress=progress,
            console=console,
            page=page,
            on_data=on_data,
            stack=stack,
        )
        token = _CURRENT.set(opened)
        try:
            yield opened
            tracker.finish()  # of a run that goes no further than some stage
        finally:
            _CURRENT.reset(token)


def open_cluster(settings: RunSettings, cpus: int) -> Cluster:
    """Return the cluster of a run, not connected yet: RAY_ADDRESS's, or a local one with room for every stage.

    Raises:
        ConfigError: If RAY_ADDRESS is of a kind that cannot carry the work.
    """
    address = os.environ.get("RAY_ADDRESS") or None
    if address and address.startswith("ray://"):
        raise ConfigError(
            "Ray Client connections break in long work",
            item=f"RAY_ADDRESS {address}",
            remedy="run inside the cluster with its host:port, or unset it for a local Ray",
        )
    return Cluster(mode=settings.mode, address=address, cpus=cpus)


def open_tracker(settings: RunSettings, store: Store) -> Tracker:
    """Return the tracker of a run, not connected yet: MLFLOW_TRACKING_URI's, or a database below the root."""
    uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI", ""), None
    if not settings.tracking:
        uri = ""
    elif not uri:
        folder = local_folder(store.uri)
        # If it cannot be made, MLflow complains, and the work goes on.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts"
    return Tracker(uri, settings.experiment, artifacts)
