"""Several outputs computed by one pool of workers, each with a key and a seal of its own."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate

from flows.missing import Amount, Missing
from flows.nodes.environment import Environment
from flows.nodes.survey import Begun, SurveyedTask
from flows.stage import Context
from infra.compute.units import UnitTask, Workers
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

_LESS_MEMORY = "set a smaller evaluate.batch_size, if a likelihood was at work, or fewer evaluate.workers"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One output, in units.

    Attributes:
        label: Its name among the outputs that figures rest on.
        plan: Everything that its bytes depend on.
        environment: The parts of the environment that count; its device, the units', may be `auto`.
        names: Of its units' records.
        task: Returns the task that computes and commits unit n, which is the n-th of the names, on `cpu` or `cuda`.
        seal: Seals it as soon as all units are committed.
    """

    label: str
    plan: Plan
    environment: Environment
    names: Sequence[str]
    task: Callable[[Output, str], UnitTask]
    seal: Callable[[Output], Manifest]


def seal_together(
    works: Sequence[Work], context: Context, *, stage: str, workers: Callable[[str], Workers]
) -> list[Manifest]:
    """Return the manifest of each output; compute what is missing of all of them in one pool.

    An output is sealed, and free for other runs, as soon as its own last unit is committed.

    Args:
        works: The outputs. Their units run in this order: outputs that other runs share belong at the front.
        context: The outside world.
        stage: For error lines.
        workers: Gives the pool for a device: `cuda` if the work that is missing needs it, else `cpu`.

    Raises:
        ConfigError: If work is to be done on a GPU in this process, and this machine has none.
        ResourceError: If the cluster has no room for the pool.
    """
    with ExitStack() as held:
        sealings = [_Sealing(work, context) for work in works]

        def pool_of(those: Sequence[_Sealing]) -> tuple[str, Workers]:
            wanted = next((one.device for one in those if one.device != "cpu"), "cpu")
            device = context.cluster.nodes.device(wanted, cpus=workers("cuda").cpus, stage=stage)
            return device, workers(device)

        if missing := [sealing for sealing in sealings if sealing.manifest is None]:
            context.on_missing([one.as_missing(lambda: pool_of(missing)) for one in missing])
        # In an order that is the same for every run, so that no two runs wait for each other.
        for sealing in sorted(sealings, key=lambda sealing: sealing.work.plan.key):
            sealing.take(held)
        open_ones = [sealing for sealing in sealings if sealing.manifest is None]
        if open_ones:
            context.before_work()
            device, pool = pool_of(open_ones)
            for sealing in open_ones:
                sealing.begin(device, pool)
            _run(open_ones, context, stage, pool)
    return [sealing.manifest for sealing in sealings if sealing.manifest is not None]


class _Sealing:
    """One output on its way to its manifest; leased from the start of its work to its seal.

    Attributes:
        work: What is computed.
        output: Where it goes.
        manifest: The seal, as soon as there is one.
        missing: Numbers of the units that are not committed yet.
        device: What its units compute on; until it begins, perhaps `auto`.
    """

    def __init__(self, work: Work, context: Context) -> None:
        self.work, self.output = work, context.output(work.plan)
        self.manifest = self.output.manifest({})
        self.missing: set[int] = set()
        self.device = work.environment.device
        self._context, self._lease = context, ExitStack()
        self._begun: Begun | None = None

    def as_missing(self, pool: Callable[[], tuple[str, Workers]]) -> Missing:
        """Return the output with the number of its units.

        Args:
            pool: Returns the device and the workers of what is missing.
        """
        return Missing(
            output=self.output,
            goal={},
            amount=Amount(total=len(self.work.names), unit="units"),
            recorded=lambda: {"units": len(self.work.names) - len(self._uncommitted())},
            check=lambda: self._context.check_environment(self.output, lambda: self._environment(*pool())),
        )

    def take(self, held: ExitStack) -> None:
        """Lease the output, unless it is sealed, or becomes so while this run waits for the lease.

        Args:
            held: Gives the lease back if the work ends without a seal.
        """
        held.enter_context(self._lease)
        if self.manifest is None:
            self._lease.enter_context(self._context.lease(self.output.folder))
            self.manifest = self.output.manifest({})
        if self.manifest is not None:
            self._lease.close()

    def begin(self, device: str, workers: Workers) -> None:
        """Begin the output, or go on with it.

        Args:
            device: The pool's, `cpu` or `cuda`.
            workers: The pool.
        """
        environment = self._environment(device, workers)
        self.device = environment.device
        self._begun = self._context.begin(self.output, environment)
        self.missing = self._uncommitted()

    def _environment(self, device: str, workers: Workers) -> Environment:
        device = device if self.device != "cpu" else "cpu"
        return replace(self.work.environment, device=device, workers=workers)

    def _uncommitted(self) -> set[int]:
        return {n for n, name in enumerate(self.work.names) if self.output.record(name) is None}

    def task(self) -> UnitTask:
        """Return the task of its units; `begin` comes first."""
        assert self._begun is not None, "the output has begun"
        task = self.work.task(self.output, self.device)
        return SurveyedTask(task=task, survey=self._begun.survey, output=self.output)

    def note(self, unit: int) -> None:
        """Note that a unit is committed, and seal the output after the last."""
        self.missing.discard(unit)
        self.seal_if_whole()

    def seal_if_whole(self) -> None:
        """Seal the output if no unit is missing."""
        if not self.missing:
            self.manifest = self.work.seal(self.output)
            self._lease.close()
            if self._begun is not None:
                self._context.say_joined(self.output, self._begun, self.manifest)


def _run(sealings: Sequence[_Sealing], context: Context, stage: str, workers: Workers) -> None:
    starts = [0, *accumulate(len(sealing.work.names) for sealing in sealings)]
    task = _Together(tasks=tuple(sealing.task() for sealing in sealings), starts=tuple(starts))
    for sealing in sealings:
        sealing.seal_if_whole()

    def is_done(number: int) -> bool:
        which = task.which(number)
        return number - starts[which] not in sealings[which].missing

    def note(number: int) -> None:
        which = task.which(number)
        sealings[which].note(number - starts[which])

    context.run_missing(
        task,
        range(starts[-1]),
        stage=stage,
        workers=workers,
        is_done=is_done,
        size=lambda _: 1,
        unit="units",
        on_unit=note,
        less_memory=_LESS_MEMORY,
    )


@dataclass(frozen=True, kw_only=True)
class _Together:
    """The units of several tasks, numbered one after the other."""

    tasks: tuple[UnitTask, ...]
    starts: tuple[int, ...]

    def which(self, number: int) -> int:
        """Return the task that a unit belongs to."""
        return bisect_right(self.starts, number) - 1

    def open(self) -> Callable[[int], None]:
        """Return the function that computes one unit; a task is opened with its first."""
        opened: dict[int, Callable[[int], None]] = {}

        def run(number: int) -> None:
            which = self.which(number)
            if which not in opened:
                opened[which] = self.tasks[which].open()
            opened[which](number - self.starts[which])

        return run
