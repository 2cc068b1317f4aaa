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


@dataclass(frozen=True, kw_only=True)
class Work:
    """One output, in units.

    Attributes:
        plan: What it is a function of.
        environment: Recorded where the work begins.
        names: Of its units' records.
        task: Gives what computes and commits unit n, which is the n-th of the names.
        seal: Seals it when all units are there.
        first: So many of the units have to be there before the others begin.
    """

    plan: Plan
    environment: Json
    names: Sequence[str]
    task: Callable[[Output], UnitTask]
    seal: Callable[[Output], Manifest]
    first: int = 0


def seal_together(works: Sequence[Work], context: Context, *, stage: str, workers: Workers) -> list[Manifest]:
    """Return the manifest of each output; compute what is missing of all of them in one pool.

    Args:
        works: The outputs.
        context: The outside world.
        stage: For error lines.
        workers: Of the pool, at most so many.
    """
    outputs = [context.output(work.plan) for work in works]
    sealed = [output.manifest({}) for output in outputs]
    with ExitStack() as held:
        open_ones = []
        for number, (work, output) in enumerate(zip(works, outputs, strict=True)):
            if sealed[number] is None:
                held.enter_context(context.lease(output.folder))
                sealed[number] = output.manifest({})  # another run may have sealed it while this one waited
            if sealed[number] is None:
                context.begin(output, work.environment)
                open_ones.append(number)
        if open_ones:
            _run([works[number] for number in open_ones], [outputs[n] for n in open_ones], context, stage, workers)
        for number in open_ones:
            sealed[number] = works[number].seal(outputs[number])
    return [manifest for manifest in sealed if manifest is not None]


def _run(works: Sequence[Work], outputs: Sequence[Output], context: Context, stage: str, workers: Workers) -> None:
    starts = [0, *accumulate(len(work.names) for work in works)]
    task = _Together(
        tasks=tuple(work.task(output) for work, output in zip(works, outputs, strict=True)), starts=tuple(starts)
    )

    def is_done(number: int) -> bool:
        which = task.which(number)
        return outputs[which].record(works[which].names[number - starts[which]]) is not None

    first = {start + unit for work, start in zip(works, starts, strict=False) for unit in range(work.first)}
    context.run_missing(
        task,
        range(starts[-1]),
        stage=stage,
        workers=workers,
        is_done=is_done,
        size=lambda _: 1,
        unit="units",
        first=first,
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
