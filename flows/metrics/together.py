"""Several outputs computed by one pool of workers, each with a key and a seal of its own."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate

from flows.stage import Context
from infra.compute.units import UnitTask, Workers
from infra.digests import Json
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

_LESS_MEMORY = "set a smaller evaluate.batch_size, if a likelihood was at work, or fewer evaluate.workers"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One output, in units.

    Attributes:
        label: Its name among the outputs that figures rest on.
        plan: Everything that its bytes depend on.
        environment: Recorded where the work begins.
        names: Of its units' records.
        task: Returns the task that computes and commits unit n, which is the n-th of the names.
        seal: Seals it as soon as all units are committed.
        device: What its units compute on, `cpu` or `cuda`.
    """

    label: str
    plan: Plan
    environment: Json
    names: Sequence[str]
    task: Callable[[Output], UnitTask]
    seal: Callable[[Output], Manifest]
    device: str = "cpu"


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
    """
    with ExitStack() as held:
        sealings = [_Sealing(work, context) for work in works]
        # In an order that is the same for every run, so that no two runs wait for each other.
        for sealing in sorted(sealings, key=lambda sealing: sealing.work.plan.key):
            sealing.begin(held)
        open_ones = [sealing for sealing in sealings if sealing.manifest is None]
        if open_ones:
            device = "cuda" if any(sealing.work.device == "cuda" for sealing in open_ones) else "cpu"
            _run(open_ones, context, stage, workers(device))
    return [sealing.manifest for sealing in sealings if sealing.manifest is not None]


class _Sealing:
    """One output on its way to its manifest; leased from the start of its work to its seal.

    Attributes:
        work: What is computed.
        output: Where it goes.
        manifest: The seal, as soon as there is one.
        missing: Numbers of the units that are not committed yet.
    """

    def __init__(self, work: Work, context: Context) -> None:
        self.work, self.output = work, context.output(work.plan)
        self.manifest = self.output.manifest({})
        self.missing: set[int] = set()
        self._context, self._lease = context, ExitStack()

    def begin(self, held: ExitStack) -> None:
        """Lease the output and begin it, unless it is sealed, or becomes so while this run waits for the lease.

        Args:
            held: Gives the lease back if the work ends without a seal.
        """
        held.enter_context(self._lease)
        if self.manifest is None:
            self._lease.enter_context(self._context.lease(self.output.folder))
            self.manifest = self.output.manifest({})
        if self.manifest is None:
            self._context.begin(self.output, self.work.environment)
            self.missing = {n for n, name in enumerate(self.work.names) if self.output.record(name) is None}
        else:
            self._lease.close()

    def note(self, unit: int) -> None:
        """Note that a unit is committed, and seal the output after the last."""
        self.missing.discard(unit)
        self.seal_if_whole()

    def seal_if_whole(self) -> None:
        """Seal the output if no unit is missing."""
        if not self.missing:
            self.manifest = self.work.seal(self.output)
            self._lease.close()


def _run(sealings: Sequence[_Sealing], context: Context, stage: str, workers: Workers) -> None:
    starts = [0, *accumulate(len(sealing.work.names) for sealing in sealings)]
    task = _Together(tasks=tuple(sealing.work.task(sealing.output) for sealing in sealings), starts=tuple(starts))
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
