"""The definition of a stage, and the context that it runs in."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flows.account import Account
from flows.artifacts import Artifact, Dataset
from flows.cost import StageCost
from flows.given import Given
from flows.missing import Amount, Missing, units_done
from flows.nodes.environment import Environment
from flows.nodes.survey import Begun, Survey, joined_later, take_survey
from flows.run_identity import RunIdentity
from infra.compute.cluster import Cluster
from infra.compute.memory import MemoryWatch
from infra.compute.units import UnitTask, Workers
from infra.outputs.environments import Environments
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan, current
from infra.outputs.similar import most_similar
from infra.outputs.source_code import enter_source
from infra.storage.store import Store
from infra.tracking.origin import source_name

C = TypeVar("C")
A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a running stage; amounts are numbers of `unit`.

    Attributes:
        done: The amount of work done, including earlier attempts.
        total: The goal.
        start: The amount done before this attempt, which resumes from there.
        kept: The amount that survives if the process is killed now.
        unit: The unit of all amounts, such as "images".
        loss: Training's recent mean loss.
        rate: `unit` per second in this attempt, if the stage measures it itself.
        data_share: The recent share of time that training waits for data.
        data_wait_s: The seconds for which training waited for data since its workers started.
        phase: Other work in progress, such as "starting Ray" or "saving".
    """

    done: int
    total: int
    start: int = 0
    kept: int = 0
    unit: str = "images"
    loss: float | None = None
    rate: float | None = None
    data_share: float | None = None
    data_wait_s: float | None = None
    phase: str = ""


_BYTES = "the bytes may differ from those of an undisturbed run"


def _ignore(*_: object) -> None:
    pass


def _no_lease(_: str) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Context:
    """The outside world of a stage: the places for its outputs and its work, and its listeners.

    Attributes:
        store: The store of all outputs.
        cluster: The place where units are computed.
        force: Start a new attempt beside existing outputs.
        begun: Keys of the outputs that this run has begun, so that a retried stage resumes its own attempt.
        run: The run that the stage belongs to.
        costs: The costs of the run's earlier stages, by stage.
        given: The inputs from outside that the run has found already, by setting, such as `train.initial`.
        say: Shows a line on the terminal and in the run's log.
        on_warning: Shows a line about something that goes wrong; None if `say` does.
        on_progress: Receives the stage's progress: the starting point at once, then updates.
        on_history: Receives new rows of the training history as they are committed.
        on_data: Receives the data set's key as soon as the source is listed, before any work.
        lease: Holds an output's folder for this run while it works there; waits while another run holds it.
        strict_environment: Refuse to go on with an output that was begun in another environment, or on unlike nodes.
        on_missing: Receives outputs that are not sealed, before this run waits for another run that works on them.
        before_work: Called before work on an output begins, when it is known that something is not sealed.
    """

    store: Store
    cluster: Cluster
    force: bool = False
    begun: set[str] | None = None
    run: RunIdentity | None = None
    costs: Mapping[str, StageCost] = field(default_factory=dict)
    given: Mapping[str, Given] = field(default_factory=dict)
    say: Callable[[str], None] = _ignore
    on_warning: Callable[[str], None] | None = None
    on_progress: Callable[[Progress], None] = _ignore
    on_history: Callable[[list[dict[str, Any]]], None] = _ignore
    on_data: Callable[[str], None] = _ignore
    lease: Callable[[str], AbstractContextManager[object]] = _no_lease
    strict_environment: bool = False
    on_missing: Callable[[Sequence[Missing]], None] = _ignore
    before_work: Callable[[], None] = _ignore
    _said: set[str] = field(default_factory=set)

    @property
    def starting(self) -> str:
        """The name of the phase before a stage's first work."""
        return "starting Ray" if self.cluster.mode == "ray" else "starting"

    def sealed(
        self,
        plan: Plan,
        goal: dict[str, int],
        environment: Callable[[], Environment],
        make: Callable[[Output, Survey], Manifest],
        *,
        done: Callable[[Output], Mapping[str, int]] = units_done,
        amount: Amount | None = None,
        noun: str = "",
    ) -> tuple[Manifest, bool]:
        """Return the manifest that seals a goal of a plan, and whether it was sealed already.

        Args:
            plan: The plan of the output.
            goal: The goal to seal.
            environment: Returns the parts of the environment that count; called if the work begins.
            make: Does the missing work, on the nodes of a survey, and seals it; called only while this run holds the
                output's lease.
            done: Returns the amount of an output's work that is done, for the record of another environment. An amount
                of the goal's own unit tells which goals that environment can have worked on.
            amount: The amount of work that seals the goal, if the stage counts it.
            noun: The result in a word, such as "network"; if it is not empty and the output is new, a line names the
                most similar output on the same inputs.

        Raises:
            ConflictError: If `strict_environment` is set, and the output was begun in another environment or the nodes
                that may work on it differ.
        """
        output = self.output(plan)
        if (manifest := output.manifest(goal)) is not None:
            return manifest, True
        missing = Missing(
            output=output,
            goal=goal,
            amount=amount,
            recorded=lambda: done(output),
            check=lambda: self.check_environment(output, environment),
        )
        self.on_missing([missing])
        with self.lease(output.folder):
            manifest = output.manifest(goal)  # because another run may have sealed it while this one waited
            if manifest is not None:
                return manifest, True
            self.before_work()
            begun = self.begin(output, environment(), done)
            if begun.is_new and noun and (similar := most_similar(plan, self.store)):
                self.say(f"{plan.stage}: another {noun} than {similar.folder}: {similar.words}; that one is kept")
            manifest = make(output, begun.survey)
        self.say_joined(output, begun, manifest)
        return manifest, False

    def output(self, plan: Plan) -> Output:
        """Return the latest attempt at a plan, or with `force` the next one, unless this run has begun one."""
        force = self.force and plan.key not in (self.begun or ())
        return current(Output(store=self.store, plan=plan), force=force)

    def begin(
        self, output: Output, environment: Environment, done: Callable[[Output], Mapping[str, int]] = units_done
    ) -> Begun:
        """Write an output's plan and environment, or go on with it; if the environment is another one, say so.

        Raises:
            ConflictError: If `strict_environment` is set, and the environment is another one or the nodes differ.
        """
        survey = self.survey(environment, output.plan.stage)
        beginning = output.begin(survey.recorded, done=lambda: done(output), strict=self.strict_environment)
        if beginning.change:
            self.say(f"{output.plan.stage}: goes on in another environment ({beginning.change}); {_BYTES}")
        enter_source(self.store, output.folder, source_name())
        if self.begun is not None:
            self.begun.add(output.plan.key)
        known = 1 if beginning.is_new else len(Environments(store=output.store, folder=output.folder).periods())
        return Begun(is_new=beginning.is_new, survey=survey, environments=known)

    def check_environment(self, output: Output, environment: Callable[[], Environment]) -> None:
        """Refuse an output that another environment began, as `begin` does, before anything is written.

        Raises:
            ConflictError: If `strict_environment` is set, and the environment is another one or the nodes differ.
        """
        if self.strict_environment:
            output.refuse_others(self.survey(environment(), output.plan.stage).recorded)

    def survey(self, environment: Environment, stage: str) -> Survey:
        """Return the environments of the nodes that may do some work; say once if they differ.

        Raises:
            ConflictError: If they differ and `strict_environment` is set.
        """
        survey = take_survey(environment, self.cluster, stage, strict=self.strict_environment, on_wait=self.say)
        if survey.mixture and survey.mixture not in self._said:
            self._said.add(survey.mixture)
            self.say(f"{stage}: works on nodes that differ ({survey.mixture}); {_BYTES}")
        return survey

    def say_joined(self, output: Output, begun: Begun, manifest: Manifest) -> None:
        """Say how nodes that joined since the beginning, and worked on an output, differ."""
        for words in joined_later(output, begun, manifest):
            self.say(f"{output.plan.stage}: a node that joined works in another environment ({words}); {_BYTES}")

    def run_missing(
        self,
        task: UnitTask,
        units: Sequence[int],
        *,
        stage: str,
        workers: Workers,
        is_done: Callable[[int], bool],
        size: Callable[[int], int],
        unit: str = "images",
        phase: str = "",
        on_unit: Callable[[int], None] = _ignore,
        less_memory: str = "",
    ) -> None:
        """Run the units that are not committed yet, and report progress.

        Args:
            task: Computes and commits one unit.
            units: The numbers of all units.
            stage: The stage's name, for errors.
            workers: The workers to use at most.
            is_done: Tells whether a unit is committed.
            size: Returns the amount that a unit adds to the progress, in `unit`.
            unit: The unit of the progress, such as "images".
            phase: Shown next to the count.
            on_unit: Receives each unit as soon as it is committed.
            less_memory: The settings by which a unit needs less memory, for the error if there is too little.
        """
        missing = [number for number in units if not is_done(number)]
        total = sum(map(size, units))
        start = done = total - sum(map(size, missing))

        def show(phase: str) -> None:
            self.on_progress(Progress(done=done, total=total, start=start, kept=done, unit=unit, phase=phase))

        def count(number: int) -> None:
            nonlocal done
            done += size(number)
            on_unit(number)
            show(phase)

        show(phase or self.starting)
        watched = MemoryWatch(task=task, stage=stage, remedy=less_memory)
        self.cluster.run_units(watched, missing, workers=workers, stage=stage, on_done=count)


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[C, A]):
    """One step of the pipeline, as the code sees it that handles all stages alike.

    Attributes:
        name: The name of its task, command, MLflow run and output folder.
        about: One line about its work.
        inputs: The stages whose artifacts it receives, in this order.
        config: The type of its settings.
        artifact: The type of its result.
        run: (config, *inputs, context) -> the artifact; `context.sealed` comes before any work, as plans call it too.
        account: (config, artifact, inputs, store) -> the account of the artifact.
        check: (config, data set) -> None; raises for settings that do not suit the data, as soon as that is known.
        settle: (config, data set, context) -> None; seals early what the stage needs, and raises if it does not suit.
        folders: The folders of its sealed outputs below the root.
        grows: Whether the size of its output grows with the number of images.
        spare: output -> the names of the objects that a sealed output no longer needs, the first to remove first.
        ends_run: Whether its account closes the run in MLflow, in place of an MLflow run of its own.
    """

    name: str
    about: str
    inputs: tuple[str, ...]
    config: type[C]
    artifact: type[A]
    run: Callable[..., A]
    account: Callable[[C, A, Sequence[Artifact], Store], Account]
    check: Callable[[C, Dataset], None] = _ignore
    settle: Callable[[C, Dataset, Context], None] = _ignore
    folders: tuple[str, ...] = ()
    grows: bool = False
    spare: Callable[[Output], Sequence[str]] | None = None
    ends_run: bool = False
