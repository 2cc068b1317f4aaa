"""What a stage is, and the outside world as it receives it, beside its config and its inputs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flows.artifacts import Artifact, Dataset
from infra.compute.cluster import Cluster
from infra.compute.units import UnitTask, Workers
from infra.digests import Json
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan, current
from infra.record import DatasetInput, ModelFile
from infra.storage.store import Store

C = TypeVar("C")
A = TypeVar("A")

# A name, a figure and a note on what it is.
Row = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of a stage at work.

    Attributes:
        done: Units of work done, those of earlier attempts included.
        total: The goal.
        start: Done before this attempt, which resumes from there.
        kept: What survives if the process is killed now.
        unit: What is counted.
        loss: Training's recent mean loss.
        rate: `unit` per second of this attempt, if the work measures it itself.
        phase: What goes on beside counting, such as "starting Ray" or "saving".
    """

    done: int
    total: int
    start: int = 0
    kept: int = 0
    unit: str = "images"
    loss: float | None = None
    rate: float | None = None
    phase: str = ""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """The run that a stage works for: one recipe on one data set.

    Attributes:
        name: Its name, which leads from the report to MLflow, Prefect and back.
        recipe: The key of its recipe, or nothing if it is not known.
        links: Its pages in other programs, by the program's name.
    """

    name: str
    recipe: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


def _ignore(*_: object) -> None:
    pass


def _no_lease(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Context:
    """The outside world of a stage: its place of work and its listeners.

    Attributes:
        store: Where outputs go.
        cluster: Where work is done.
        force: Start a new attempt beside what is there.
        begun: Keys of the outputs that this run has begun: a stage that is tried again goes on with its own attempt.
        run: The run that it works for.
        on_progress: Receives how far the stage is: its starting point at once, then now and then.
        on_history: Receives new rows of the training history as they are committed.
        on_data: Receives the data set's key as soon as the source is listed, before any work.
        lease: Holds an output's folder for this run while it works there; waits for a run that holds it.
    """

    store: Store
    cluster: Cluster
    force: bool = False
    begun: set[str] | None = None
    run: RunIdentity | None = None
    on_progress: Callable[[Progress], None] = _ignore
    on_history: Callable[[list[dict[str, Any]]], None] = _ignore
    on_data: Callable[[str], None] = _ignore
    lease: Callable[[str], AbstractContextManager[None]] = _no_lease

    @property
    def starting(self) -> str:
        """The phase before the first work of a stage."""
        return "starting Ray" if self.cluster.mode == "ray" else "starting"

    def sealed(
        self, plan: Plan, goal: dict[str, int], environment: Json, make: Callable[[Output], Manifest]
    ) -> tuple[Manifest, bool]:
        """Return the manifest that seals a goal of a plan, and whether it was there already.

        Args:
            plan: Of the output.
            goal: Of its manifest.
            environment: Recorded where the work begins.
            make: Does the missing work and seals it; called while this run alone holds the output.
        """
        output = self.output(plan)
        found = output.manifest(goal)
        if found is not None:
            return found, True
        with self.lease(output.folder):
            found = output.manifest(goal)  # another run may have sealed it while this one waited
            if found is not None:
                return found, True
            self.begin(output, environment)
            return make(output), False

    def output(self, plan: Plan) -> Output:
        """Return the latest attempt at a plan, or with `force` the next one, unless this run has begun one."""
        force = self.force and plan.key not in (self.begun or ())
        return current(Output(store=self.store, plan=plan), force=force)

    def begin(self, output: Output, environment: Json) -> None:
        """Write an output's plan and environment, or join what was begun with the same ones."""
        output.begin(environment)
        if self.begun is not None:
            self.begun.add(output.plan.key)

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
        first: Collection[int] = (),
    ) -> None:
        """Run the units that are not committed yet, and report progress in what they hold.

        Args:
            task: Computes and commits one unit.
            units: All of them.
            stage: For error lines.
            workers: At most so many.
            is_done: Tells whether a unit is committed.
            size: How much a unit holds of what is counted.
            unit: What is counted.
            phase: Shown beside the count.
            first: Units that have to be done before the others begin.
        """
        missing = [number for number in units if not is_done(number)]
        total = sum(map(size, units))
        start = done = total - sum(map(size, missing))

        def show(phase: str) -> None:
            progress = Progress(done=done, total=total, start=start, kept=done, unit=unit, phase=phase)
            self.on_progress(progress)

        def count(number: int) -> None:
            nonlocal done
            done += size(number)
            show(phase)

        show(phase or self.starting)
        before = [number for number in missing if number in first]
        if before:
            self.cluster.run_units(task, before, workers=workers, stage=stage, on_done=count)
        after = [number for number in missing if number not in first]
        self.cluster.run_units(task, after, workers=workers, stage=stage, on_done=count)


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a stage has to say of its result: plain data, shown and tracked by whoever ran it.

    Attributes:
        line: For the terminal and the run's log.
        metrics: Figures about the whole, by their names in MLflow.
        files: Small files by name.
        inputs: Data sets read.
        tags: For MLflow, such as the snapshot's digest.
        history: Rows with `images_seen`, `time_ms` and figures.
        model: The snapshot, if the stage made one.
        rows: Of the table at the end of a run.
        links: Places to look at, by name, for the end of a run.
    """

    line: str
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: Sequence[DatasetInput] = ()
    tags: dict[str, str] = field(default_factory=dict)
    history: Sequence[dict[str, Any]] = ()
    model: ModelFile | None = None
    rows: Sequence[Row] = ()
    links: dict[str, str] = field(default_factory=dict)


def _no_check(*_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[C, A]):
    """One step of the pipeline, for everything that has to know all of them.

    Attributes:
        name: Of its task, command and MLflow run, and of its outputs' folder.
        about: What it does, in one line.
        inputs: The stages whose artifacts it receives, in this order.
        artifact: The type of its result.
        run: (config, *inputs, context) -> the artifact.
        account: (config, artifact, inputs, store) -> what there is to say of it.
        check: (config, data set) -> nothing; refuses what can be refused as soon as the data is known.
        folders: The folders of its sealed outputs below the root.
        ends_run: Whether its account closes the run in MLflow, in place of an MLflow run of its own.
    """

    name: str
    about: str
    inputs: tuple[str, ...]
    config: type[C]
    artifact: type[A]
    run: Callable[..., A]
    account: Callable[[C, A, Sequence[Artifact], Store], Account]
    check: Callable[[C, Dataset], None] = _no_check
    folders: tuple[str, ...] = ()
    ends_run: bool = False


def dataset_input(dataset: Dataset, store: Store, purpose: str) -> DatasetInput:
    """The data set as MLflow lists the inputs of a run.

    Args:
        dataset: That was read.
        store: Where it is.
        purpose: What it was used for.
    """
    kind = dataset.manifest(store).facts["settings"]["kind"]
    return DatasetInput(name=kind, uri=f"{store.uri}/{dataset.name}", digest=dataset.digest, purpose=purpose)
