"""The forecast of a run: which stages are sealed, which would run and why, without touching anything.

The stages themselves are called, with a context whose first missing output ends the call. So the keys of a forecast
are those of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.artifacts import Dataset
from flows.given import Given
from flows.missing import Missing
from flows.options import name_options
from flows.recipe.config import PipelineConfig
from flows.recipe.expectation import Expectation, Left, expect
from flows.recipe.identity import run_name
from flows.recipe.reason import reason
from flows.recipe.run import check_devices, find_given, key_of_run, open_run_cluster
from flows.runtime.settings import RunSettings
from flows.stage import Context, Stage
from flows.stage_config import StageConfig
from flows.stages.prepare.sources import check_source
from flows.stages.table import STAGES
from infra.compute.answers import Probe
from infra.compute.cluster import Cluster
from infra.errors import DdpmError
from infra.outputs.costs import all_attempts, work_key
from infra.storage.overlay import Overlay
from infra.storage.store import Store

SEALED, RESUMES, RUNS, WAITS = "sealed", "goes on", "would run", "waits"


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """The forecast of one stage.

    Attributes:
        stage: The stage's name.
        state: `sealed`, `goes on`, `would run` or `waits`, for an input that is not sealed.
        why: The reason, in words; empty if it is sealed.
        outputs: The folders of its output or, if it is not sealed, of those that are missing as far as it is known.
        done: The amount that is done; with `total` None if it is not known.
        total: The amount in all.
        unit: The unit of the amounts.
        expected: The expected cost of what is left; None if it is sealed, or no such stage was measured.
        has_settings: Whether the stage has settings, which the report has not.
        unread: The number of records of measured attempts that were not read for lack of time.
    """

    stage: str
    state: str
    why: str = ""
    outputs: Sequence[str] = ()
    done: int = 0
    total: int | None = None
    unit: str = ""
    expected: Expectation | None = None
    has_settings: bool = True
    unread: int = 0


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The forecast of a run.

    Attributes:
        name: The run's name.
        root: The root of all outputs.
        stages: The stages in order.
    """

    name: str
    root: str
    stages: Sequence[StageForecast]

    @property
    def has_work(self) -> bool:
        """Whether any output is missing; the report is written anew by every run."""
        return any(stage.outputs and stage.state in (RESUMES, RUNS) for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """The expected time of all that is left but the report; None if it is not known of some stage."""
        left = [stage.expected for stage in self.stages if stage.state != SEALED and stage.has_settings]
        known = [expected.seconds for expected in left if expected is not None]
        return sum(known) if len(known) == len(left) else None


class _Unsealed(Exception):  # noqa: N818 - it ends a call, and is no error
    """Outputs that a stage does not find sealed."""

    def __init__(self, missing: Sequence[Missing]) -> None:
        super().__init__()
        self.missing = missing


class _Unasked(Exception):  # noqa: N818 - the same
    """A question to the nodes of a cluster, which is not connected."""


def forecast(config: PipelineConfig, settings: RunSettings, store: Store, *, remote: bool) -> Forecast:
    """Return the forecast of a run.

    Args:
        config: The settings of every stage.
        settings: The run's settings.
        store: The store of all outputs, which need not exist; nothing is written to it.
        remote: Whether the run would work on a cluster that is there already, which is not asked.

    Raises:
        DdpmError: If the run would fail at once, with the same error.
    """
    return _Forecaster(config, settings, store, remote=remote).run()


@dataclass
class _Forecaster:
    config: PipelineConfig
    settings: RunSettings
    store: Store
    remote: bool = field(kw_only=True)
    _data_key: str = field(default="", init=False)
    _done: dict[str, Any] = field(default_factory=dict, init=False)
    _given: dict[str, Given] = field(default_factory=dict, init=False)

    def run(self) -> Forecast:
        check_source(self.config.prepare, self.store.uri)  # first, as a run does, so that a plan has the same error
        view = Overlay(self.store)
        given = self._given = find_given(self.config, view)
        context = Context(
            store=view,
            cluster=self._cluster(),
            force=self.settings.force,
            strict_environment=self.settings.strict_environment,
            given=given,
            on_data=self._note_data,
            on_missing=_end,
        )
        rows = [self._of(stage, context) for stage in STAGES]
        if not self.remote and any(row.state != SEALED and row.outputs for row in rows):
            parts = {one.name: part for one in STAGES if (part := getattr(self.config, one.name, None)) is not None}
            check_devices(parts, open_run_cluster(self.config, self.settings))
        key = key_of_run(self.config, self._data_key, given)
        name = run_name(self.config, self.settings.preset, key, self.settings.name)
        return Forecast(name=name, root=self.store.uri, stages=rows)

    def _cluster(self) -> Cluster:
        """Return a cluster of this machine alone, which asks torch for it, or nobody if another one would work."""
        probe: Probe | None = _refuse if self.remote else None
        return Cluster(mode="in-process", probe=probe)

    def _note_data(self, data_key: str) -> None:
        self._data_key = data_key

    def _of(self, stage: Stage[Any, Any], context: Context) -> StageForecast:
        part = getattr(self.config, stage.name, None)
        if missing := [name for name in stage.inputs if name not in self._done]:
            return self._waiting(stage, part, f"{' and '.join(missing)} would run first")
        if part is None:
            return StageForecast(stage=stage.name, state=RUNS, why="every run writes it anew", has_settings=False)
        try:
            try:
                artifact = stage.run(part, *(self._done[name] for name in stage.inputs), context)
            except _Unsealed as unsealed:
                self._check_environments(unsealed.missing)
                return self._unsealed(stage, part, unsealed.missing)
        except _Unasked:
            return self._waiting(stage, part, "its key depends on the cluster's GPUs, which only a run asks for")
        except DdpmError as error:
            name_options(error)
            error.stage = error.stage or stage.name
            raise
        self._done[stage.name] = artifact
        if isinstance(artifact, Dataset):
            self._check(artifact, context)
        return StageForecast(stage=stage.name, state=SEALED, outputs=[artifact.name.rpartition("/manifests/")[0]])

    def _check_environments(self, missing: Sequence[Missing]) -> None:
        """Refuse an output that was begun in another environment, as a run does; a cluster's nodes are not asked."""
        if not self.remote:
            for one in missing:
                one.check()

    def _check(self, data: Dataset, context: Context) -> None:
        """Refuse settings that do not suit the data, as a run does."""
        parts = [(stage, part) for stage in STAGES if (part := getattr(self.config, stage.name, None)) is not None]
        for stage, part in parts:
            stage.check(part, data)
        for stage, part in parts:
            try:
                stage.settle(part, data, context)
            except _Unsealed as unsealed:
                self._check_environments(unsealed.missing)
            except _Unasked:
                continue

    def _waiting(self, stage: Stage[Any, Any], part: StageConfig | None, why: str) -> StageForecast:
        """Return the forecast of a stage whose key is not known yet."""
        if part is None:
            return StageForecast(stage=stage.name, state=WAITS, why=why, has_settings=False)
        expected, unread = self._expected(stage, part, next(iter(part.goals().values()), None))
        return StageForecast(stage=stage.name, state=WAITS, why=why, expected=expected, unread=unread)

    def _unsealed(self, stage: Stage[Any, Any], part: StageConfig, missing: Sequence[Missing]) -> StageForecast:
        done = sum(one.done for one in missing)
        counted = [one.amount for one in missing if one.amount is not None]
        total, unit = (sum(amount.total for amount in counted), counted[0].unit) if counted else (None, "")
        usual = type(part)().result_settings()
        reasons = {reason(one, stage.name, usual): None for one in missing}  # a set in order
        expected, unread = self._expected(stage, part, total, done, unit)
        return StageForecast(
            stage=stage.name,
            state=RESUMES if done else RUNS,
            why="; ".join(reasons),
            outputs=[one.output.folder for one in missing],
            done=done,
            total=total,
            unit=unit,
            expected=expected,
            unread=unread,
        )

    def _expected(
        self, stage: Stage[Any, Any], part: StageConfig, total: int | None, done: int = 0, unit: str = "images"
    ) -> tuple[Expectation | None, int]:
        """Return the expected cost, and the number of records that were not read."""
        inputs = self._inputs(stage)
        left = Left(
            settings=part.key_settings(),
            usual=type(part)().result_settings(),
            done=done,
            total=total,
            unit=unit,
            grows=stage.grows,
            inputs=inputs,
        )
        work = "" if inputs is None else work_key(stage.name, left.settings, inputs)
        attempts, unread = all_attempts(stage.name, self.store, first=work)
        return expect(left, attempts), unread

    def _inputs(self, stage: Stage[Any, Any]) -> tuple[str, ...] | None:
        """Return the digests of a stage's inputs as its attempts record them; None if one is not sealed yet."""
        if any(name not in self._done for name in stage.inputs):
            return None
        inside = [self._done[name].digest for name in stage.inputs] or [self._data_key]
        outside = [found.digest for name, found in self._given.items() if name.startswith(f"{stage.name}.")]
        return (*inside, *outside)


def _end(missing: Sequence[Missing]) -> None:
    raise _Unsealed(missing)


def _refuse() -> Any:  # noqa: ANN401 - it returns nothing
    raise _Unasked
