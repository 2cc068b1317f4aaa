"""The runner of a stage: tracking, timing, output on the terminal, and failure."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from flows.account import Account, Row
from flows.artifacts import Artifact
from flows.options import name_options
from flows.root import resolve_root
from flows.runtime.result import render_run_page, table
from flows.runtime.settings import RunSettings
from flows.runtime.surroundings import Surroundings, announced, current_surroundings, open_surroundings
from flows.stage import Context, Stage
from flows.stage_config import StageConfig
from infra.digests import canonical_json, sha256
from infra.errors import DdpmError
from infra.record import StageRecord, TrackedRun
from infra.storage.open import open_store

A = TypeVar("A")
_KEY_DIGITS, _SHOWN_DIGITS = 20, 8


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
    with _alone(stage, settings, config, inputs) as opened:
        return _run(opened, stage, config, inputs)


@contextmanager
def _alone(
    stage: Stage[Any, A], settings: RunSettings, config: StageConfig | None, inputs: Sequence[Artifact]
) -> Iterator[Surroundings]:
    """Open surroundings for a single stage; in MLflow it has a run of its own, named after the key of its work."""
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
    try:
        artifact = stage.run(config, *inputs, _context(around, stage, config))
        account = stage.account(config, artifact, inputs, around.store)
        if isinstance(artifact, Artifact):
            _publish(around, stage.name, config, artifact, account)
            _finished(around, stage.name, artifact, account, time.monotonic() - started)
        around.rows[stage.name] = account.rows
        if stage.ends_run:
            _close(around, account)
    except BaseException as error:
        if isinstance(error, DdpmError):
            name_options(error)
            error.stage = error.stage or stage.name
        _stopped(around, stage.name, error)
        raise
    return artifact


def _context(around: Surroundings, stage: Stage[Any, Any], config: StageConfig | None) -> Context:
    name = stage.name

    def begin(data_key: str = "") -> None:
        if data_key:
            around.on_data(data_key)
        if config is not None:
            params = {f"{name}.{setting}": value for setting, value in config.model_dump(mode="json").items()}
            around.tracker.begin(name, params)

    if stage.inputs:  # the first stage calls it with its data's key instead
        begin()
    return replace(
        _silent_context(around),
        on_progress=lambda progress: around.progress(name, progress),
        on_history=lambda rows: around.tracker.log_history(name, rows),
        on_data=begin,
    )


def early_context(around: Surroundings, stage: str) -> Context:
    """Return the context of what a stage settles before it begins: each phase of that work is a line."""
    return replace(_silent_context(around), on_progress=lambda progress: around.say(f"{stage}: {progress.phase}"))


def _silent_context(around: Surroundings) -> Context:
    return Context(
        store=around.store,
        cluster=around.cluster,
        force=around.settings.force,
        begun=around.begun,
        run=around.run,
        given=around.given,
        say=around.say,
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
    state = "found sealed" if artifact.reused else f"sealed after {seconds:.0f} s"
    line = f"{account.line}; {state}; digest {artifact.digest[:12]}"
    around.progress.finished(stage, line)
    if around.page is not None:
        around.page.log(f"{stage}: {line}")
    rate, unit = around.progress.rate(stage, seconds)
    row = (stage, rate, f"{unit} of this attempt, including start-up")
    around.rates[stage] = (stage, "sealed before", "") if artifact.reused else row


def _publish(
    around: Surroundings, stage: str, config: StageConfig | None, artifact: Artifact, account: Account
) -> None:
    """Publish everything about a sealed stage to MLflow."""
    manifest = artifact.manifest(around.store)
    files = {"manifest.json": canonical_json(manifest.as_json())}
    if config is not None:
        files["config.json"] = canonical_json(config.model_dump(mode="json"))
    record = StageRecord(
        key=artifact.key,
        digest=artifact.digest,
        metrics=account.metrics,
        history=account.history,
        files=files | account.files,
        inputs=account.inputs,
        tags={"ddpm.uri": f"{around.store.uri}/{manifest.folder}", "ddpm.digest": artifact.digest} | account.tags,
        model=account.model,
        measured=account.measured,
    )
    around.tracker.publish(stage, record)
    name = around.settings.register_as
    if name and account.measured is not None:
        around.tracker.register(name, around.settings.champion_by, account.measured)


def _close(around: Surroundings, account: Account) -> None:
    """End the run: send figures and files to MLflow, and show table and links on the terminal and the run's page."""
    around.tracker.close(account.metrics, account.files, account.tags)
    rows: list[Row] = [*(row for part in around.rows.values() for row in part), *around.rates.values()]
    around.console.print(table(rows))
    decision = around.tracker.take_decision()
    links = account.links | ({"registry": decision} if decision else {}) | dict(around.tracking_links())
    if around.page is not None:
        for row in rows:
            around.page.log("  ".join(row))
        picture = account.files["samples.png"]
        around.page.show_page("result", render_run_page(around.name, rows, picture, links), f"Figures of {around.name}")
    for name, line in links.items():
        around.say(f"{name:<9} {line}")
