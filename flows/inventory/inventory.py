"""The inventory of a root: its finished runs and outputs, and how they refer to each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from flows.inventory.output import SealedGoal, StoredOutput
from flows.run_record import RunRecord
from infra.storage.store import StoredObject

# The stage whose outputs are named by the digest of their content, which is their plan's one input.
INITIAL, _CONTENT = "initial", "network"


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run below a root.

    Attributes:
        name: Its name.
        record: Its record; None if it is not finished, or the record is damaged.
        changed_s: When its record, or the note that it has begun, was put, in seconds since 1970.
        damage: A line about its record; empty if that is whole.
        holder: A line about its process if it is at work.
        settings: The settings of a run that has begun, by their full names; empty if it is finished.
        note: The object that says that it has begun; None if it is finished.
    """

    name: str
    record: RunRecord | None = None
    changed_s: float = 0.0
    damage: str = ""
    holder: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: StoredObject | None = None

    @property
    def artifacts(self) -> dict[str, str]:
        """The manifests that it names, by kind: `dataset`, `snapshot`, `samples`, `figures`."""
        return {} if self.record is None else {kind: part.name for kind, part in vars(self.record.finished).items()}


@dataclass(frozen=True, kw_only=True)
class StoredJob:
    """The files by which runs and a job of a cluster spoke.

    Attributes:
        folder: Their folder.
        objects: The files.
        has_ended: Whether the job left its outcome; one that was killed leaves none.
        follower: A line about a run that follows the job; empty if none does.
    """

    folder: str
    objects: Sequence[StoredObject]
    has_ended: bool
    follower: str = ""

    @property
    def changed_s(self) -> float:
        """The time at which the last of them was put, in seconds since 1970."""
        return max(one.changed_s for one in self.objects)


class Reference(NamedTuple):
    """An input of an output.

    Attributes:
        role: Its role, such as `dataset`.
        digest: Its digest; empty if only its folder is named.
        outputs: The outputs that it may be; several if attempts at a plan came out equal, none if it is not here.
    """

    role: str
    digest: str
    outputs: tuple[StoredOutput, ...]


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything that a root holds, as it was read.

    Attributes:
        runs: The runs, by name.
        outputs: The outputs, by folder.
        leftovers: Objects of puts and leases in flight, or left by a kill.
        jobs: The files of jobs, by folder.
        damage: Lines about everything that cannot be read, and so may refer to anything.
        left_out: A line about what was not read for lack of time; empty if everything was.
    """

    runs: Sequence[StoredRun]
    outputs: Mapping[str, StoredOutput]
    leftovers: Sequence[StoredObject] = ()
    jobs: Sequence[StoredJob] = ()
    damage: Sequence[str] = field(default_factory=tuple)
    left_out: str = ""

    @cached_property
    def _by_digest(self) -> dict[str, list[StoredOutput]]:
        found: dict[str, list[StoredOutput]] = {}
        for output in self.outputs.values():
            for digest in dict.fromkeys(digests(output)):
                found.setdefault(digest, []).append(output)
        return found

    def with_digest(self, digest: str) -> tuple[StoredOutput, ...]:
        """Return the outputs that have a digest."""
        return tuple(self._by_digest.get(digest, ()))

    def inputs(self, output: StoredOutput) -> list[Reference]:
        """Return what an output was made from: the inputs of its plan, and what it names as what it rests on."""
        folders = {label: folder for goal in output.sealed for label, folder in goal.folders.items()}
        found = []
        for role, digest in (output.plan.inputs if output.plan else {}).items():
            named = self.outputs.get(folders.pop(role, ""))
            if output.stage != INITIAL and digest:
                found.append(Reference(role, digest, (named,) if named else self.with_digest(digest)))
        for label, folder in folders.items():
            named = self.outputs.get(folder)
            found.append(Reference(label, "", (named,) if named else ()))
        return found

    @cached_property
    def _users(self) -> dict[str, list[tuple[str, StoredOutput]]]:
        found: dict[str, list[tuple[str, StoredOutput]]] = {}
        for output in self.outputs.values():
            for reference in self.inputs(output):
                for used in reference.outputs:
                    found.setdefault(used.folder, []).append((reference.role, output))
        return found

    def users(self, output: StoredOutput) -> list[tuple[str, StoredOutput]]:
        """Return the outputs that were made from one, each with the role that it has there."""
        return self._users.get(output.folder, [])

    def runs_of(self, output: StoredOutput) -> list[tuple[str, StoredRun]]:
        """Return the finished runs that name an output, each with the kind of artifact that it is there."""
        manifests = {goal.manifest for goal in output.sealed}
        return [(kind, run) for run in self.runs for kind, name in run.artifacts.items() if name in manifests]

    def runs_by_output(self) -> dict[str, set[str]]:
        """Return the names of the finished runs that use each output, directly or through others, by folder."""
        found: dict[str, set[str]] = {}
        for run in self.runs:
            for folder in self.closure("/".join(name.split("/")[:2]) for name in run.artifacts.values()):
                found.setdefault(folder, set()).add(run.name)
        return found

    def closure(self, folders: Iterable[str]) -> set[str]:
        """Return outputs and everything that they were made from, by folder.

        An input that several attempts at a plan may be is one of them that is there anyway, else the latest attempt.
        """
        found: set[str] = set()
        waiting = [folder for folder in folders if folder in self.outputs]
        uncertain: list[Reference] = []
        while waiting or uncertain:
            while waiting:
                folder = waiting.pop()
                if folder not in found:
                    found.add(folder)
                    for reference in self.inputs(self.outputs[folder]):
                        if len(reference.outputs) == 1:
                            waiting.append(reference.outputs[0].folder)
                        else:
                            uncertain.append(reference)
            for reference in uncertain:
                if not any(output.folder in found for output in reference.outputs):
                    waiting += latest_attempts(reference.outputs)
            uncertain = []
        return found

    def by_use(self, outputs: Iterable[StoredOutput]) -> list[StoredOutput]:
        """Return outputs such that each comes before those that it was made from."""
        chosen = {output.folder: output for output in outputs}
        order: list[StoredOutput] = []
        begun: set[str] = set()
        for folder in sorted(chosen):
            stack: list[tuple[str, Iterator[StoredOutput]]] = []
            self._enter(folder, begun, stack)
            while stack:
                below = next(stack[-1][1], None)
                if below is not None:
                    self._enter(below.folder, begun, stack)
                elif (done := stack.pop()[0]) in chosen:
                    order.append(chosen[done])
        return order[::-1]

    def _enter(self, folder: str, begun: set[str], stack: list[tuple[str, Iterator[StoredOutput]]]) -> None:
        if folder not in begun:
            begun.add(folder)
            inputs = self.inputs(self.outputs[folder])
            stack.append((folder, iter([output for reference in inputs for output in reference.outputs])))


def digests(output: StoredOutput) -> list[str]:
    """Return the digests by which others name an output."""
    found = [goal.digest for goal in output.sealed]
    if output.stage == INITIAL and output.plan is not None:
        found.append(output.plan.inputs.get(_CONTENT, ""))
    return found


def latest_attempts(outputs: Iterable[StoredOutput]) -> list[str]:
    """Return the folder of the latest attempt at each plan."""
    latest: dict[tuple[str, str], StoredOutput] = {}
    for output in sorted(outputs, key=lambda output: output.attempt):
        latest[output.stage, output.key] = output
    return [output.folder for output in latest.values()]


def goal_with(output: StoredOutput, digest: str) -> SealedGoal | None:
    """Return the goal of an output that has a digest; the largest one if the digest names the output otherwise."""
    exact = [goal for goal in output.sealed if goal.digest == digest]
    ordered = sorted(exact or output.sealed, key=lambda goal: sum(goal.goal.values()))
    return ordered[-1] if ordered else None
