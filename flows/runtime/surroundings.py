"""The surroundings of the stages of one run: root, cluster, tracker, progress and the run's page.

Prefect's tasks and `ddpm stage` pass only plain data. The stages of a run share one process, and find the run's live
objects here.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console

from flows.account import Row
from flows.cost import StageCost
from flows.given import Given
from flows.root import resolve_root
from flows.run_identity import RunIdentity
from flows.run_record import note_begun
from flows.runtime.connections import open_cluster, open_jobs, open_tracker, process_tags
from flows.runtime.progress import StageProgress
from flows.runtime.result import render_links
from flows.runtime.settings import RunSettings
from flows.stage import Progress
from flows.stage_config import StageConfig
from infra.compute.cluster import Cluster
from infra.compute.jobs import Jobs
from infra.compute.usage import Usage
from infra.errors import ResourceError, StorageError
from infra.outputs.lease import held
from infra.outputs.lease_holder import Holder
from infra.outputs.presence import LEASES, at_work
from infra.record import TrackedRun
from infra.storage.download import without_secrets
from infra.storage.open import open_store
from infra.storage.store import Store
from infra.tracking.tracker import Tracker

# The width of lines that go to a file instead of a terminal.
_WIDTH = 120


class RunPage(Protocol):
    """The page that a workflow service keeps of this run."""

    @property
    def page(self) -> str:
        """The page's address."""

    def rename(self, name: str) -> None:
        """Set the run's name."""

    def show_progress(self, stage: str, percent: float, line: str) -> None:
        """Show the progress of a stage."""

    def show_page(self, key: str, markdown: str, line: str) -> None:
        """Attach a page of Markdown to the run."""

    def show_table(self, key: str, rows: Sequence[Mapping[str, str]], line: str) -> None:
        """Attach a table to the run; the rows have the same columns."""

    def announce_champion(self, address: str, line: str) -> None:
        """Tell the service that a network became the champion of a registry."""

    def log(self, line: str, *, is_warning: bool = False) -> None:
        """Add a line to the log of the task at work, or of the run."""


def _ignore(_: object) -> None:
    pass


@dataclass(kw_only=True)
class Surroundings:
    """The live objects of one run.

    Attributes:
        settings: The run's settings.
        store: The store of all outputs.
        cluster: The place where units are computed.
        tracker: The connection to MLflow; it does nothing if tracking is off.
        progress: The display of the stages' progress.
        console: The terminal.
        page: The run's page in a workflow service, if there is one.
        on_data: Receives the data's key as soon as the source is listed, before any work.
        stack: Closed at the end of the run.
        run: The run, once its data is known.
        given: The inputs from outside that were found when the run began, by setting.
        rows: The figures of the final table, by stage; each stage adds its own when it ends.
        rates: Further rows of the final table: each stage's rate in this attempt.
        costs: The cost of each stage that has ended, whichever runs paid for it.
        begun: Keys of the outputs that this run has begun.
        check: Called once, before the run's first work.
        planned: The settings of all stages that the run comes to, by stage, for a job to check in its place.
        tracked: The run as it is tracked, once its data is known.
        configs: The settings of the stages so far, by stage.
        dashboard: The address of Ray's dashboard, once it is known; empty if there is none.
        usage: How busy this machine is while this run works on it.
        jobs: The jobs of the cluster, if stages run as such.
        on_progress: Receives the progress of each stage that works in this process.
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
    given: Mapping[str, Given] = field(default_factory=dict)
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    rates: dict[str, Row] = field(default_factory=dict)
    costs: dict[str, StageCost] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    check: Callable[[], None] | None = None
    planned: Mapping[str, StageConfig] = field(default_factory=dict)
    tracked: TrackedRun | None = None
    configs: dict[str, StageConfig] = field(default_factory=dict)
    dashboard: str = ""
    usage: Usage = field(default_factory=Usage)
    jobs: Jobs | None = None
    on_progress: Callable[[Progress], None] = _ignore
    _is_watched: bool = False

    @property
    def name(self) -> str:
        """The run's name; empty until its data is known."""
        return self.run.name if self.run else ""

    def say(self, line: str) -> None:
        """Show a line on the terminal and in the run's log."""
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        if self.page is not None:
            self.page.log(" ".join(line.split()))

    def warn(self, line: str) -> None:
        """Show a line about something that goes wrong on the terminal, and as a warning in the run's log."""
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        if self.page is not None:
            self.page.log(" ".join(line.split()), is_warning=True)

    def begin(self, run: TrackedRun, recipe: str) -> None:
        """Name the run once its data is known, wait for an equal run to end, and start tracking.

        Args:
            run: The run's key, name and settings.
            recipe: The key of its recipe.
        """
        if self.run is not None:
            return  # a retried stage lists the same data
        self.run = RunIdentity(name=run.name)
        self.say(f"{'run':>9} {run.name}")
        links = {}
        if self.page is not None:
            self.page.rename(run.name)
            links["Prefect"] = self.page.page
        try:
            # A forced run makes outputs of its own, but in MLflow it is the same run, and each has one writer.
            self.stack.enter_context(self.lease(f"{LEASES}/{run.key}"))
        except BaseException:
            self.run = None  # so that a retry starts over
            raise
        if recipe:
            with suppress(StorageError, ResourceError):  # only `ddpm ls` reads the note
                note_begun(run.name, run.params, self.store)
        tags = run.tags | {f"ddpm.{program.lower()}": uri for program, uri in links.items()}
        tags |= process_tags(self.store, f"{LEASES}/{run.key}/lease") if self.settings.tracking else {}
        self.tracked = replace(run, tags=tags)
        self.tracker.start(self.tracked)
        links["MLflow"] = self.tracker.page
        self.run = RunIdentity(name=run.name, recipe=recipe, links={name: uri for name, uri in links.items() if uri})
        self._show_links()

    def show_dashboard(self, known: str = "") -> None:
        """Show the address of Ray's dashboard as soon as this run is connected to a cluster that has one.

        Args:
            known: The address, if the run itself is not connected.
        """
        if not self.dashboard and self.run is not None and (address := known or self.cluster.dashboard):
            self.dashboard = address = without_secrets(address)
            self.say(f"{'Ray':>9} {address}")
            self.tracker.tag({"ddpm.ray": address})
            self._show_links()

    def _show_links(self) -> None:
        """Show the run's pages in other programs on its page, while it works."""
        links = dict(self.run.links) if self.run else {}
        links.pop("Prefect", None)
        links |= {"Ray": self.dashboard} if self.dashboard else {}
        if self.page is not None and links:
            self.page.show_page("links", render_links(links), f"Pages of {self.name} in other programs")

    def before_work(self) -> None:
        """Make the check of the run, and begin to look at this machine, unless that is done already."""
        if self.check is not None:
            self.check()
            self.check = None
        # A cluster has pages of its own for that.
        if not self._is_watched and self.settings.tracking and self.cluster.nodes.is_one_machine:
            self._is_watched = True
            self.stack.enter_context(self.usage)

    def track_usage(self, least: int = 1) -> None:
        """Send to MLflow how busy this machine was, if there are at least so many rows since the last time."""
        if len(self.usage) >= least:
            self.tracker.log_usage(self.usage.take())

    def lease(self, folder: str) -> AbstractContextManager[object]:
        """Hold a folder for this run; while another run holds it, wait and say who does, or refuse without `wait`."""
        holder = Holder.here(self.name, datetime.now(UTC))
        return held(self.store, f"{folder}/lease", holder, on_wait=self.say, wait=self.settings.wait)

    def tracking_links(self) -> Mapping[str, str]:
        """Return the page of the tracked runs and, if they are in a local database, the command that serves it."""
        tracker = self.tracker
        if tracker.complaint:
            root = f" --root {shlex.quote(self.settings.root)}" if self.settings.root else ""
            later = {"  note": f"ddpm track flush{root} delivers it later"} if self.settings.tracking else {}
            return {"tracking": tracker.complaint} | later
        if not tracker.server_command:
            return {"MLflow": tracker.page}
        alone = self.store.uri.startswith("s3://")
        note = "on this machine only; set MLFLOW_TRACKING_URI to a server that others can see"
        return {"MLflow": tracker.runs_page, "served by": tracker.server_command} | ({"  note": note} if alone else {})


_CURRENT: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


def current_surroundings() -> Surroundings | None:
    """The surroundings of the run that is open in this context, if any."""
    return _CURRENT.get()


def announced(settings: RunSettings, store: Store, page: RunPage | None = None) -> AbstractContextManager[None]:
    """Announce a run below its root, so that `ddpm prune` removes no output that it may have found.

    It comes before the run's first look for an output, and waits while outputs are being removed.
    """

    def say(line: str) -> None:
        Console(stderr=True).print(line, soft_wrap=True, highlight=False, markup=False)
        if page is not None:
            page.log(line)

    who = settings.name or settings.preset
    return at_work(store, Holder.here(who, datetime.now(UTC)), on_wait=say, wait=settings.wait)


@contextmanager
def open_surroundings(
    settings: RunSettings, cpus: int, on_data: Callable[[str], None], page: RunPage | None = None
) -> Iterator[Surroundings]:
    """Connect everything that a run needs; Ray connects later, with the first work.

    Args:
        settings: The run's settings.
        cpus: CPUs that the largest stage takes, for a local Ray.
        on_data: Receives the data's key as soon as the source is listed.
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
        opened.jobs = open_jobs(settings, opened.say)
        token = _CURRENT.set(opened)
        try:
            yield opened
            tracker.finish()  # for a run that ends before its last stage, which would have closed it
            if decision := tracker.take_decision():
                opened.say(f"{'registry':<9} {decision}")
        finally:
            _CURRENT.reset(token)
            if page is not None and (champion := tracker.take_champion()):
                page.announce_champion(*champion)
