"""The runner of a stage: tracking, timing, output on the terminal, and failure."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from flows.account import Account, Row
from flows.artifacts import Artifact, Dataset
from flows.options import name_options
from flows.root import resolve_root
from flows.runtime.job import run_as_job, settle_as_job
from flows.runtime.meter import Meter
from flows.runtime.result import render_run_page, table
from flows.runtime.settings import RunSettings
from flows.runtime.surroundings import Surroundings, announced, current_surroundings, open_surroundings
from flows.runtime.tracking_record import TrackingRecord, description, stage_params, stage_record
from flows.stage import Context, Progress, Stage
from flows.stage_config import StageConfig
from infra.digests import canonical_json, sha256
from infra.errors import DdpmError, IntegrityError
from infra.outputs.costs import Attempt
from infra.record import TrackedRun
from infra.storage.open import open_store
from infra.tracking.origin import origin_tags

A = TypeVar("A")
_KEY_DIGITS, _SHOWN_DIGITS = 20, 8
# Rows about this machine that go to MLflow together while a stage works: those of a minute.
_USAGE_ROWS = 6


def run_stage(stage: Stage[Any, A], settings: RunSettings, config: StageConfig | None, *inputs: Artifact) -> A:
    """Run a stage in the surroundings of the open run or, if no run is open, in surroundings of its own.

    Args:
        stage: The stage.
        settings: The run's settings.
        config: The stage's settings; None if it has none.
        inputs: The artifacts that it depends on, in the order of `stage.inputs`.

    Raises:
        DdpmError: If the stage fails for a reason that one line explains; the error names the stage.
    """
    around = current_surroundings()
    if around is not None:
        return _run(around, stage, config, inputs)
    with alone(stage, settings, config, inputs) as opened:
        return _run(opened, stage, config, inputs)


@contextmanager
def alone(
    stage: Stage[Any, A], settings: RunSettings, config: StageConfig | None, inputs: Sequence[Artifact]
) -> Iterator[Surroundings]:
    """Open surroundings for a single stage; in MLflow it has a run of its own, named after the key of its work.

    Args:
        stage: The stage.
        settings: The run's settings.
        config: The stage's settings; None if it has none.
        inputs: The artifacts that it depends on.
    """
    opened: list[Surroundings] = []

    def begin(data_key: str) -> None:
        result = config.key_settings() | config.goals() if config else {}
        identity = [stage.name, result, [one.digest for one in inputs], data_key]
        key = sha256(canonical_json(identity))[:_KEY_DIGITS]
        opened[0].begin(TrackedRun(key=key, name=f"{settings.name or stage.name}-{key[:_SHOWN_DIGITS]}"), recipe="")

    store = open_store(resolve_root(settings.root))
    with (
        announced(settings, store),
        open_surroundings(settings, config.cpus if config else 1, begin) as around,
    ):
        opened.append(around)
        around.store.make()
        if inputs:
            begin("")
        yield around


def _run(around: Surroundings, stage: Stage[Any, A], config: StageConfig | None, inputs: Sequence[Artifact]) -> A:
    started = time.monotonic()
    meter = _meter(around, stage.name, config, inputs)
    try:
        artifact, seconds = _work(around, stage, config, inputs, meter)
        meter.end(artifact)
        account = stage.account(config, artifact, inputs, around.store)
        if isinstance(artifact, Artifact):
            if cost := meter.cost(artifact, config.goals() if config else {}):
                around.costs[stage.name] = cost
            _publish(around, stage.name, config, artifact, account)
            _finished(around, stage.name, artifact, account, seconds or time.monotonic() - started)
        around.rows[stage.name] = account.rows
        if stage.ends_run:
            _close(around, account)
    except BaseException as error:
        meter.end(error=error)
        if isinstance(error, DdpmError):
            name_options(error)
            error.stage = error.stage or stage.name
        _stopped(around, stage.name, error)
        raise
    return artifact


def _work(
    around: Surroundings, stage: Stage[Any, A], config: StageConfig | None, inputs: Sequence[Artifact], meter: Meter
) -> tuple[A, float | None]:
    """Run a stage in this process or as a job; return its artifact and the seconds that a job worked.

    A stage without settings shows what is sealed, so it needs no job.
    """
    context = _context(around, stage, config, meter)
    if around.jobs is None or config is None:
        return stage.run(config, *inputs, context), None
    return run_as_job(stage, config, inputs, context, around)


def settle(around: Surroundings, stage: Stage[Any, Any], config: StageConfig, dataset: Dataset) -> None:
    """Seal early what a stage needs, before the stage is run; each phase of that work is a line.

    Args:
        around: The surroundings of the run.
        stage: The stage.
        config: Its settings.
        dataset: The data set.
    """
    context = replace(
        _silent_context(around), on_progress=lambda progress: around.say(f"{stage.name}: {progress.phase}")
    )
    if around.jobs is None:
        stage.settle(config, dataset, context)
    else:
        settle_as_job(stage, config, dataset, context, around)


def _meter(around: Surroundings, stage: str, config: StageConfig | None, inputs: Sequence[Artifact]) -> Meter:
    outside = [found.digest for name, found in around.given.items() if name.startswith(f"{stage}.")]
    about = Attempt(
        stage=stage,
        settings=config.key_settings() if config else {},
        inputs=(*(one.digest for one in inputs), *outside),
        goal=config.goals() if config else {},
        forced=around.settings.force,
    )
    return Meter(store=around.store, about=about, occupancy=around.cluster.occupancy, run=lambda: around.name)


def _context(around: Surroundings, stage: Stage[Any, Any], config: StageConfig | None, meter: Meter) -> Context:
    name = stage.name

    def begin(data_key: str = "") -> None:
        if data_key:
            around.on_data(data_key)
            meter.add_input(data_key)
        if config is not None:
            around.configs[name] = config
            around.tracker.begin(name, stage_params(name, config))

    def report(progress: Progress) -> None:
        meter.hear(progress)
        around.progress(name, progress)
        around.on_progress(progress)
        around.show_dashboard()
        around.track_usage(_USAGE_ROWS)

    def before_work() -> None:
        around.before_work()
        meter.begin()

    if stage.inputs:  # the first stage calls it with its data's key instead
        begin()
    return replace(
        _silent_context(around),
        costs=around.costs,
        on_progress=report,
        on_history=lambda rows: around.tracker.log_history(name, rows),
        on_data=begin,
        on_missing=meter.note,
        lease=lambda folder: meter.waiting(around.lease(folder)),
        before_work=before_work,
    )


def _silent_context(around: Surroundings) -> Context:
    return Context(
        store=around.store,
        cluster=around.cluster,
        force=around.settings.force,
        begun=around.begun,
        run=around.run,
        given=around.given,
        say=around.say,
        on_warning=around.warn,
        lease=around.lease,
        strict_environment=around.settings.strict_environment,
        before_work=around.before_work,
    )


def _stopped(around: Surroundings, stage: str, error: BaseException) -> None:
    """Report how much work is kept, and record in MLflow whether the attempt failed or was stopped."""
    around.progress.stopped(stage)
    if last := around.progress.last(stage):
        error.add_note(f"{stage} keeps {last.kept:,} of {last.total:,} {last.unit}")
    around.tracker.end(stage, "FAILED" if isinstance(error, Exception) else "KILLED")


def _finished(around: Surroundings, stage: str, artifact: Artifact, account: Account, seconds: float) -> None:
    """Print a line about the sealed output, and note the rate of this attempt for the final table."""
    rate, unit = around.progress.rate(stage, seconds)
    state = "found sealed" if artifact.reused else f"sealed after {seconds:.0f} s, {rate} {unit}"
    line = f"{account.line}; {state}; digest {artifact.digest[:12]}"
    around.progress.finished(stage, line)
    if around.page is not None:
        around.page.log(f"{stage}: {line}")
    row = (stage, rate, f"{unit} of this attempt, including start-up")
    around.rates[stage] = (stage, "sealed before", "") if artifact.reused else row


def _publish(
    around: Surroundings, stage: str, config: StageConfig | None, artifact: Artifact, account: Account
) -> None:
    """Publish everything about a sealed stage to MLflow."""
    record = stage_record(artifact, account, config, around.store)
    if cost := around.costs.get(stage):
        record = replace(record, metrics=record.metrics | cost.metrics)
    around.track_usage()
    around.tracker.publish(stage, record)
    name = around.settings.register_as
    if name and account.measured is not None:
        around.tracker.register(name, around.settings.champion_by, account.measured)


def _keep_tracking(around: Surroundings) -> None:
    """Write down how a tracked run is tracked, so that MLflow can get later what it does not take now."""
    settings = around.settings
    earlier: TrackingRecord | None = None
    if settings.tracking and around.tracked is not None:
        with suppress(IntegrityError):
            earlier = TrackingRecord.read(around.name, around.store)
        # A repetition that finds everything sealed may come from other code.
        origin = earlier.run.origin if earlier else origin_tags()
        record = TrackingRecord(
            run=replace(around.tracked, origin=origin),
            experiment=settings.experiment,
            stages={stage: config.model_dump(mode="json") for stage, config in around.configs.items()},
            register_as=settings.register_as,
            champion_by=settings.champion_by,
        )
        record.write(around.store)


def _close(around: Surroundings, account: Account) -> None:
    """End the run: send figures and files to MLflow, and show table and links on the terminal and the run's page."""
    spent = {name: value for cost in around.costs.values() for name, value in cost.metrics.items()}
    _keep_tracking(around)
    elsewhere = around.run.links if around.run else {}
    around.tracker.close(account.metrics | spent, account.files, account.tags, description(account.links, elsewhere))
    rows: list[Row] = [*(row for part in around.rows.values() for row in part), *around.rates.values()]
    around.console.print(table(rows))
    decision = around.tracker.take_decision()
    links = account.links | ({"registry": decision} if decision else {}) | dict(around.tracking_links())
    links |= {"Ray": around.dashboard} if around.dashboard else {}
    if around.page is not None:
        for row in rows:
            around.page.log("  ".join(row))
        picture = account.files["samples.png"]
        around.page.show_page("result", render_run_page(around.name, rows, picture, links), f"Figures of {around.name}")
        if cells := [cost.cells() for cost in around.costs.values()]:
            around.page.show_table("cost", cells, f"Cost of {around.name}, by stage")
    for name, line in links.items():
        around.say(f"{name:<9} {line}")
