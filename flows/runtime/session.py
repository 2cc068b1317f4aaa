"""One run's surroundings: root, cluster, tracker, progress, page; and what is said and written at its end."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console

from flows.artifacts import Artifact, Checkpoint, Dataset, Report, Samples
from flows.recipe.config import PipelineConfig
from flows.recipe.identity import recipe_key, run_key, run_name, settings_of
from flows.runtime.progress import StageProgress
from flows.runtime.result import figure_rows, render_run_page, table
from flows.runtime.root import local_folder, resolve_root
from flows.runtime.runner import TrackedStages
from flows.runtime.settings import RunSettings
from flows.stage import Context
from flows.stages.prepare.sources import open_source
from flows.stages.report.page import has_report, write_report
from flows.stages.report.sections import FinishedRun
from infra.cluster import Cluster
from infra.errors import ConfigError
from infra.lease import held
from infra.lease_holder import Holder
from infra.record import DatasetInput, TrackedRun
from infra.store import Store, open_store
from infra.tracking import Tracker

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


@dataclass
class Session:
    """The stages of one run, with what surrounds them."""

    stages: TrackedStages
    progress: StageProgress
    console: Console
    settings: RunSettings
    page: RunPage | None
    stack: ExitStack
    name: str = ""
    links: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """Where outputs go."""
        return self.stages.context.store

    def say(self, line: str) -> None:
        """Show a line on the terminal and in the run's log."""
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        if self.page is not None:
            self.page.log(" ".join(line.split()))

    def identify(self, data_key: str) -> None:
        """Name the run, now that its data is known, wait for an equal one at work, and open its tracking."""
        config, settings = self.stages.config, self.settings
        key = run_key(config, data_key)
        self.name = run_name(config, settings.preset, key, settings.name)
        self.say(f"{'run':>9} {self.name}")
        if self.page is not None:
            self.page.rename(self.name)
            self.links["Prefect"] = self.page.page
        if not settings.force:
            self.stack.enter_context(self.lease(f"{_LEASES}/{key}"))
        params = settings_of(config) | {"prepare.source": config.prepare.source, "data.key": data_key}
        tags = {f"ddpm.{name.lower()}": uri for name, uri in self.links.items()}
        data = DatasetInput(
            name=config.prepare.kind, uri=f"{self.store.uri}/prepare/{data_key}", digest=data_key, context="all stages"
        )
        self.stages.tracker.start(TrackedRun(key=key, name=self.name, params=params, inputs=[data], tags=tags))
        self.links["MLflow"] = self.stages.tracker.page

    def lease(self, folder: str) -> AbstractContextManager[None]:
        """Hold a folder for this run; wait, and say for whom, while another has it."""
        holder = Holder.here(self.name, datetime.now(UTC))
        return held(self.store, f"{folder}/lease", holder, on_wait=self.say)

    def prepare(self) -> Dataset:
        """Images to a sealed data set."""
        dataset = self.stages.prepare()
        facts = dataset.manifest(self.store).facts
        what = f"{dataset.train_images:,} training and {dataset.test_images:,} held-out images"
        what += "".join(f", {count:,} left out ({why})" for why, count in facts["filtered"].items())
        what += f", {facts['quarantined']:,} in quarantine" if facts["quarantined"] else ""
        kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in facts["others"].items())
        what += f", other files not read ({kinds})" if kinds else ""
        what += f", no classes since {facts['unlabelled']:,} have none" if facts["unlabelled"] else ""
        train, test = (set(facts["classes"][split]) for split in ("train", "test"))
        what += ", no class in common" if train and test and not train & test else ""
        self._finished("prepare", dataset, f"{what}, {dataset.levels} levels")
        return dataset

    def train(self, dataset: Dataset) -> Checkpoint:
        """A data set to a trained network."""
        checkpoint = self.stages.train(dataset)
        self._finished("train", checkpoint, f"{checkpoint.images_seen:,} images seen")
        return checkpoint

    def sample(self, checkpoint: Checkpoint) -> Samples:
        """A trained network to images."""
        samples = self.stages.sample(checkpoint)
        self._finished("sample", samples, f"{samples.count:,} images")
        return samples

    def evaluate(self, dataset: Dataset, checkpoint: Checkpoint, samples: Samples) -> Report:
        """Images to figures."""
        report = self.stages.evaluate(dataset, checkpoint, samples)
        self._finished("evaluate", report, f"{report.counts['bpd_images']:,} held-out images")
        return report

    def finish(self, dataset: Dataset, checkpoint: Checkpoint, samples: Samples, report: Report) -> None:
        """Write the report, close the tracking, print the table and put it on the run's page."""
        finished = FinishedRun(dataset=dataset, checkpoint=checkpoint, samples=samples, report=report)
        folder = write_report(self.name, self.store, finished, self._elsewhere(), recipe_key(self.stages.config))
        page = self.store.read(f"{folder}/report.html")
        picture = self.store.read(f"{folder}/samples.png")
        where = f"{self.store.uri}/{folder}"
        tracker = self.stages.tracker
        tracker.close(
            report.figures, {"report.html": page, "samples.png": picture}, {"ddpm.report": f"{where}/report.html"}
        )
        rows = figure_rows(self.stages.config, report, self.stages.times)
        self.console.print(table(rows))
        links = {"report": f"{where}/report.html", "samples": f"{where}/samples.png"} | self._tracking()
        if self.page is not None:
            for row in rows:
                self.page.log("  ".join(row))
            self.page.show_page("result", render_run_page(self.name, rows, picture, links), f"Figures of {self.name}")
        for name, line in links.items():
            self.say(f"{name:<9} {line}")

    def _tracking(self) -> dict[str, str]:
        """Name the page of the tracked runs, and the command that serves a database without a server."""
        tracker = self.stages.tracker
        if tracker.complaint:
            return {"tracking": tracker.complaint}
        if not tracker.server_command:
            return {"MLflow": tracker.page}
        alone = self.store.uri.startswith("s3://")
        note = "on this machine alone; MLFLOW_TRACKING_URI names a server that others see"
        return {"MLflow": tracker.runs_page, "served by": tracker.server_command} | ({"  note": note} if alone else {})

    def _elsewhere(self) -> dict[str, str]:
        """The pages of this run in other programs, as far as they have an address."""
        return {name: address for name, address in self.links.items() if address}

    def _finished(self, stage: str, artifact: Artifact, what: str) -> None:
        took = self.stages.times[stage].seconds
        state = "found sealed" if artifact.reused else f"sealed after {took:.0f} s"
        line = f"{what}; {state}; digest {artifact.digest[:12]}"
        self.progress.finished(stage, line)
        if self.page is not None:
            self.page.log(f"{stage}: {line}")


@contextmanager
def open_session(config: PipelineConfig, settings: RunSettings, *, page: RunPage | None = None) -> Iterator[Session]:
    """Connect what a run needs; Ray only when the first work does.

    Args:
        config: All stages' settings.
        settings: The run's.
        page: The run's page in a workflow service.
    """
    store = _open_root(config, settings)
    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    tracker = _tracker(settings, store)
    tracker.connect()
    publish = page.show_progress if page is not None else None
    log: Callable[[str], None] | None = page.log if page is not None else None
    with ExitStack() as stack:
        cluster = stack.enter_context(open_cluster(config, settings))
        progress = stack.enter_context(StageProgress(console, publish, log))
        holder: list[Session] = []
        context = Context(
            store=store, cluster=cluster, force=settings.force, lease=lambda folder: holder[0].lease(folder)
        )
        stages = TrackedStages(
            config=config,
            context=context,
            tracker=tracker,
            progress=progress,
            on_data=lambda key: holder[0].identify(key),
        )
        session = Session(stages=stages, progress=progress, console=console, settings=settings, page=page, stack=stack)
        holder.append(session)
        yield session


def _open_root(config: PipelineConfig, settings: RunSettings) -> Store:
    """Make the root, where the source that is to be read allows it."""
    store = open_store(resolve_root(settings.root))
    open_source(config.prepare, store.uri)
    store.make()
    return store


def open_cluster(config: PipelineConfig, settings: RunSettings) -> Cluster:
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
    computing = (config.train, config.sample, config.evaluate)
    cpus = max(config.prepare.workers, *((stage.workers or 1) * stage.threads for stage in computing))
    return Cluster(mode=settings.mode, address=address, cpus=cpus)


def warm_up(config: PipelineConfig, settings: RunSettings, cluster: Cluster) -> None:
    """Do early what takes seconds: open the tracking store and, unless this recipe has a report already, Ray."""
    store = _open_root(config, settings)
    if settings.force or not has_report(store, recipe_key(config)):
        cluster.connect()
        cluster.warm_up()
    _tracker(settings, store).connect()


def _tracker(settings: RunSettings, store: Store) -> Tracker:
    uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI", ""), None
    if not settings.tracking:
        uri = ""
    elif not uri:
        folder = local_folder(store.uri)
        # Where it cannot be made, MLflow complains, and the work goes on.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts"
    return Tracker(uri, settings.experiment, artifacts)
