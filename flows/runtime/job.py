"""A stage as a job of a Ray cluster, seen from the run that needs its result.

The run looks for a sealed output first. If there is none, a job runs `ddpm stage` on the cluster, with everything that
surrounds a stage except MLflow, to which only the run talks. A run that was killed finds its job again by the job's
name, which tells what is to be computed.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NoReturn

from flows.artifacts import Artifact, Dataset, artifact_from_json
from flows.runtime.code import own_code
from flows.runtime.followed import Followed
from flows.runtime.handover import Handover, Outcome
from flows.runtime.surroundings import Surroundings
from flows.stage import Context, Stage
from flows.stage_config import StageConfig
from infra.compute.cluster import Cluster
from infra.compute.job import Job
from infra.compute.jobs import JobEnd
from infra.digests import Json, canonical_json, sha256
from infra.errors import DdpmError, IntegrityError, Interrupted, ResourceError
from infra.storage.uri import parse_place

_KEY_DIGITS = 12
_TERMINATED = 143
_SIGNALLED = (130, 143)
_NO_COMMAND = (126, 127)
_PREFIX = "ddpm: "
# Each takes another run that is interrupted at the very moment at which this one finds its job.
_MOST_STOPS = 3
# Lines of a job that its run shows by itself: its name, Ray's address and the sealed output.
_OWN_LINES = re.compile(r" *(run|Ray) \S+|.*; (found sealed|sealed after .*); digest [0-9a-f]+")


class _Missing(BaseException):
    """Something is not sealed; a BaseException, so that no stage takes it for a failure of its own."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """The work of a job.

    Attributes:
        stage: The stage.
        config: Its settings.
        inputs: The artifacts that it depends on.
        settles: Whether to seal only what the stage needs early; the data set is then the one input.
    """

    stage: Stage[Any, Any]
    config: StageConfig
    inputs: Sequence[Artifact]
    settles: bool = False

    @property
    def title(self) -> str:
        """The name of this work among a cluster's jobs, without the digits of its key."""
        return f"ddpm-settle-{self.stage.name}" if self.settles else f"ddpm-{self.stage.name}"


def run_as_job(
    stage: Stage[Any, Any], config: StageConfig, inputs: Sequence[Artifact], context: Context, around: Surroundings
) -> tuple[Any, float | None]:
    """Return a stage's artifact, sealed by a job unless it is sealed already, and the seconds that the job worked.

    Args:
        stage: The stage.
        config: Its settings.
        inputs: The artifacts that it depends on.
        context: The context that the stage would have in this process.
        around: The surroundings of the run.

    Raises:
        DdpmError: If the job fails, or the cluster cannot run it; the kind is that of the job's own failure.
        IntegrityError: If the job read other images or files than this run sees.
        Interrupted: If somebody else stopped the job.
    """
    data: list[str] = []

    def on_data(key: str) -> None:
        data.append(key)
        context.on_data(key)

    try:
        return stage.run(config, *inputs, _without_work(replace(context, on_data=on_data))), None
    except _Missing:
        pass
    errand = Errand(stage=stage, config=config, inputs=inputs)
    outcome = _outcome_of_job(errand, "".join(data), around)
    assert outcome.result is not None, "an outcome without a result was raised"
    artifact = artifact_from_json(stage.artifact, outcome.result)
    if not artifact.is_of(artifact.manifest(around.store)):
        raise IntegrityError("differs from what was sealed", item=artifact.name)
    seen: list[str] = []
    digest = _found(stage, config, inputs, replace(context, force=False, on_data=seen.append))
    if digest != artifact.digest or seen != data:
        raise IntegrityError(
            "was made of other files than this run reads: they changed meanwhile, or differ on the cluster",
            item=artifact.name,
            remedy="run again, with the source and every other input at a place that all machines share",
        )
    return artifact, outcome.seconds


def _found(stage: Stage[Any, Any], config: StageConfig, inputs: Sequence[Artifact], context: Context) -> str:
    """Return the digest of the sealed output that a run of the stage finds; empty if it would have to work."""
    try:
        return str(stage.run(config, *inputs, _without_work(context)).digest)
    except _Missing:
        return ""


def settle_as_job(
    stage: Stage[Any, Any], config: StageConfig, dataset: Dataset, context: Context, around: Surroundings
) -> None:
    """Seal early what a stage needs, by a job unless it is sealed already; see `run_as_job`."""
    try:
        stage.settle(config, dataset, _without_work(context))
    except _Missing:
        _outcome_of_job(Errand(stage=stage, config=config, inputs=[dataset], settles=True), "", around)


def _without_work(context: Context) -> Context:
    """Return a context in which a stage finds its sealed output, or raises `_Missing` before any work or wait."""

    def refuse(*_: object) -> NoReturn:
        raise _Missing

    nowhere = Cluster(mode="in-process", probe=refuse)
    return replace(context, cluster=nowhere, on_missing=refuse, lease=refuse, before_work=refuse)


def _outcome_of_job(errand: Errand, data_key: str, around: Surroundings) -> Outcome:
    """Run an errand as a job, or follow the one that is at work on it; return its outcome, which has a result."""
    name = f"{errand.title}-{_key(errand, data_key, around)}"

    for _ in range(_MOST_STOPS):
        job, end, handover = _followed(errand, name, around)
        outcome = handover.outcome()
        if end.state == "succeeded" and outcome is not None and outcome.result is not None:
            return outcome
        if end.state != "stopped" or not handover.is_stopped_by_run():
            break
        around.say(f"the job {job.id} was stopped by another run, which was interrupted; going on with another job")
    raise failure(job.id, end, outcome, around.store.uri)


def _followed(errand: Errand, name: str, around: Surroundings) -> tuple[Job, JobEnd, Handover]:
    """Start or find a job and follow it to its end."""
    assert around.jobs is not None, "the run's settings ask for jobs"
    jobs, handover = around.jobs, None
    offered: list[Handover] = []

    def command(job: Job) -> list[str]:
        offered.append(_handover(job, around))
        return ["ddpm", "stage", errand.stage.name, offered[-1].put_spec(_spec(errand, job, around))]

    def on_line(line: str) -> None:
        if not _OWN_LINES.fullmatch(line):
            around.say(line)

    try:
        with (
            Followed(store=around.store, who=around.name or errand.stage.name, say=around.say) as followed,
            jobs.at_work(name, command, followed) as job,
        ):
            handover = _handover(job, around)
            for other in offered:
                if other.submission != job.submission:  # another run was first
                    other.withdraw_spec()
            around.show_dashboard(jobs.address)
            around.say(f"{errand.stage.name:>9} {'started as' if job.is_new else 'found at work:'} job {job.id}")
            on_poll = partial(_show_progress, errand.stage.name, handover, around)
            end = jobs.follow(job, on_line=on_line, on_poll=on_poll)
    finally:
        if handover is not None:
            _show_progress(errand.stage.name, handover, around)
            around.begun |= handover.begun_there()
    return job, end, handover


def _handover(job: Job, around: Surroundings) -> Handover:
    return Handover(store=around.store, job=job.id, submission=job.submission)


def _key(errand: Errand, data_key: str, around: Surroundings) -> str:
    """Return the digits by which a later run knows a job that does the same work."""
    config = errand.config
    outside = {name: value for name, value in with_absolute_paths(config).items() if config.role(name) == "input"}
    identity = [
        around.store.uri,
        around.jobs.address if around.jobs else "",
        asdict(own_code()),
        outside,
        errand.stage.name,
        config.key_settings() | config.goals(),
        [one.digest for one in errand.inputs],
        data_key,
        {name: found.digest for name, found in around.given.items()},
        around.settings.force,
    ]
    return sha256(canonical_json(identity))[:_KEY_DIGITS]


def _spec(errand: Errand, job: Job, around: Surroundings) -> Json:
    """Return the spec of a job for `ddpm stage`: plain data without secrets, the same wherever it is read."""
    names = errand.stage.inputs[: len(errand.inputs)]
    run = around.settings.model_dump(mode="json") | {
        "root": around.store.uri,
        "execution": "here",
        "ray_jobs": "",
        "tracking": False,
        "register_as": "",
        "champion_by": "",
        "until": "",
        "timeout": 0,
    }
    return {
        "run": run,
        "config": with_absolute_paths(errand.config),
        "inputs": {name: asdict(one) for name, one in zip(names, errand.inputs, strict=True)},
        "given": {name: asdict(found) for name, found in around.given.items()},
        "job": {
            "id": job.id,
            "submission": job.submission,
            "settles": errand.settles,
            "code": asdict(own_code()),
            "begun": sorted(around.begun) if around.settings.force else [],
            "planned": {name: config.model_dump(mode="json") for name, config in around.planned.items()},
        },
    }


def with_absolute_paths(config: StageConfig) -> Json:
    """Return a stage's settings as JSON, with absolute paths of files of this machine, as a job works elsewhere."""
    values = config.model_dump(mode="json")
    for name, value in values.items():
        if config.role(name) == "input" and value and name != "initial":  # which the run has found already
            values[name] = [_absolute(one) for one in value] if isinstance(value, list) else _absolute(value)
    return values


def _absolute(text: str) -> str:
    is_local = "://" not in text
    return parse_place(text).uri if is_local else text


def _show_progress(stage: str, handover: Handover, around: Surroundings) -> None:
    """Show a job's progress; the lines about it are in the job's log."""
    if (progress := handover.progress()) is not None:
        around.progress.show(stage, progress)


def failure(job: str, end: JobEnd, outcome: Outcome | None, root: str) -> BaseException:
    """Return the error of a job that has no result, in the terms of `ddpm`.

    Args:
        job: Its id.
        end: Its end.
        outcome: What it handed over, if anything.
        root: The root of all outputs.
    """
    if outcome is not None and outcome.error is not None and end.state == "failed":
        return outcome.error
    if end.state == "stopped" or end.code in _SIGNALLED:
        stop = Interrupted(_TERMINATED)
        stop.add_note(f"the job {job} was stopped")
        return stop
    sees = f"every node must see the root {root}, and have this release of ddpm-flows, with `ddpm` on the PATH"
    if end.state == "succeeded":
        return ResourceError("has ended well and left no result", item=f"job {job}", remedy=sees)
    line = end.last_line.removeprefix(_PREFIX)
    kinds = {kind.exit_code: kind for kind in DdpmError.__subclasses__()}
    if end.code in kinds and end.last_line.startswith(_PREFIX):
        return kinds[end.code](line, item=f"job {job}", remedy=sees if outcome is None else "")
    if end.code == 1 and end.last_line.startswith(_PREFIX):
        return DdpmError(f"{line} on the cluster", item=f"job {job}")
    cause = f"ended with exit code {end.code} ({line})" if end.code is not None else _first_sentence(end.message)
    return ResourceError(cause, item=f"job {job}", remedy=sees if end.code in (1, *_NO_COMMAND) else "run again")


def _first_sentence(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[0][:200] if lines else "ended without a word"
