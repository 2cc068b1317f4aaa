"""One run's surroundings: root, cluster, tracker, progress; and what is said and written at its end."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from flows.artifacts import Artifact, Checkpoint, Dataset, Report, Samples
from flows.config import PipelineConfig
from flows.context import Context
from flows.progress import StageProgress
from flows.report import FOLDER, write_report
from flows.report_page import FinishedRun
from flows.root import local_folder, resolve_root
from flows.run_settings import RunSettings
from flows.sources import open_source
from flows.tracked import TrackedStages, pipeline_key
from infra.cluster import Cluster
from infra.errors import ConfigError
from infra.store import Store, open_store
from infra.tracking import Tracker

# Of lines that go to a file and not to a terminal.
_WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class Session:
    """The stages of one run, with what surrounds them."""

    stages: TrackedStages
    progress: StageProgress
    console: Console
    settings: RunSettings

    @property
    def store(self) -> Store:
        """Where outputs go."""
        return self.stages.context.store

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
        self._say("prepare", dataset, f"{what}, {dataset.levels} levels")
        return dataset

    def train(self, dataset: Dataset) -> Checkpoint:
        """A data set to a trained network."""
        checkpoint = self.stages.train(dataset)
        self._say("train", checkpoint, f"{checkpoint.images_seen:,} images seen")
        return checkpoint

    def sample(self, checkpoint: Checkpoint) -> Samples:
        """A trained network to images."""
        samples = self.stages.sample(checkpoint)
        self._say("sample", samples, f"{samples.count:,} images")
        return samples

    def evaluate(self, dataset: Dataset, checkpoint: Checkpoint, samples: Samples) -> Report:
        """Images to figures."""
        report = self.stages.evaluate(dataset, checkpoint, samples)
        self._say("evaluate", report, f"{report.metrics['eval/bpd_images']:.0f} held-out images")
        return report

    def finish(self, dataset: Dataset, checkpoint: Checkpoint, samples: Samples, report: Report) -> None:
        """Write the report, close the tracking and print the table."""
        name = _report_name(self.stages.config, self.settings)
        finished = FinishedRun(dataset=dataset, checkpoint=checkpoint, samples=samples, report=report)
        folder = write_report(name, self.store, finished)
        page = self.store.read(f"{folder}/report.html")
        picture = self.store.read(f"{folder}/samples.png")
        self.stages.tracker.close(report.metrics, {"report.html": page, "samples.png": picture})
        self.console.print(_table(self.stages, report))
        self.console.print(f"report    {self.store.uri}/{folder}/report.html", soft_wrap=True, highlight=False)
        self.console.print(f"samples   {self.store.uri}/{folder}/samples.png", soft_wrap=True, highlight=False)
        tracker = self.stages.tracker
        beside = self.store.uri.startswith("s3://") and tracker.uri.startswith("sqlite:")
        note = " on this machine; MLFLOW_TRACKING_URI names a server that others see" if beside else ""
        self.console.print(f"tracking  {tracker.complaint or tracker.uri + note}", soft_wrap=True, highlight=False)

    def _say(self, stage: str, artifact: Artifact, what: str) -> None:
        took = self.stages.times[stage].seconds
        state = "found sealed" if artifact.reused else f"sealed after {took:.0f} s"
        self.progress.finished(stage, f"{what}; {state}; digest {artifact.digest[:12]}")


@contextmanager
def open_session(
    config: PipelineConfig,
    settings: RunSettings,
    *,
    publish: Callable[[str, float], None] | None = None,
    parent: bool = True,
) -> Iterator[Session]:
    """Connect what a run needs; Ray only when the first work does.

    Args:
        config: All stages' settings.
        settings: The run's.
        publish: Told (stage, percent) now and then.
        parent: Give the stages' MLflow runs a parent.
    """
    store = _open_root(config, settings)
    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    tracker = _tracker(config, settings, store)
    tracker.open(settings.name if parent else "")
    with open_cluster(config, settings) as cluster, StageProgress(console, publish) as progress:
        context = Context(store=store, cluster=cluster, force=settings.force)
        stages = TrackedStages(config=config, context=context, tracker=tracker, on_progress=progress)
        yield Session(stages=stages, progress=progress, console=console, settings=settings)


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
    """Do early what takes seconds: open the tracking store and, unless this run has its report already, Ray."""
    store = _open_root(config, settings)
    if settings.force or not store.exists(f"{FOLDER}/{_report_name(config, settings)}/report.html"):
        cluster.connect()
        cluster.warm_up()
    _tracker(config, settings, store).open(settings.name)


def _report_name(config: PipelineConfig, settings: RunSettings) -> str:
    return f"{settings.name}-{pipeline_key(config)[:8]}"


def _tracker(config: PipelineConfig, settings: RunSettings, store: Store) -> Tracker:
    uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI", ""), None
    if not settings.tracking:
        uri = ""
    elif not uri:
        folder = local_folder(store.uri)
        # Where it cannot be made, MLflow complains, and the work goes on.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts"
    return Tracker(uri, settings.experiment, artifacts, pipeline_key(config))


def _table(stages: TrackedStages, report: Report) -> Table:
    metrics = report.metrics
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row(
        f"{report.extractor}",
        f"{metrics[f'eval/{report.extractor}']:.3f}",
        f"Fréchet distance of {metrics['eval/fd_samples']:.0f} samples to the training split",
    )
    kind = "estimated upper bound" if report.bound_timesteps else "upper bound"
    given = " given the labels" if stages.config.train.class_conditional else ""
    for variance in report.variances:
        figure = metrics[f"eval/bits_per_dim_{variance}"]
        error = metrics[f"eval/bits_per_dim_{variance}_stderr"]
        table.add_row("bits/dim", f"{figure:.3f} ± {error:.3f}", f"{kind}{given}, {variance}, 256 levels")
    for stage, spent in stages.times.items():
        speed = "sealed before" if spent.reused else f"{spent.images / spent.seconds:,.1f}"
        table.add_row(f"{stage}", speed, "" if spent.reused else "images/s, start-up counted in")
    return table
