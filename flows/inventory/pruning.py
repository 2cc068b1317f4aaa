"""Finds the things below a root that may be removed, and why: a pure function of its inventory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flows.inventory.inventory import Inventory
from flows.inventory.output import StoredOutput
from flows.runtime.handover import OUTCOME
from infra.storage.store import StoredObject

# Puts that are older were given up: each put is bounded by minutes.
_IN_FLIGHT_S = 86400.0

# Returns the files of an output that its stage no longer needs, such as old checkpoints, in the order of their removal.
Spare = Callable[[StoredOutput], Sequence[StoredObject]]


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Something to remove.

    Attributes:
        name: The folder of an output, or the name of an object.
        reason: Why nothing needs it.
        bytes: Its size.
        files: The number of its files.
        output: The output that is removed or loses files; None for an object of its own.
        names: The names of the objects, in the order of their removal; empty for a whole output.
        may_work: Whether a run at work may be at it.
        keeps_plan: Whether the plan stays, so that the number of the attempt stays taken.
        costs: The names of the records of the output's cost, which go with it and are among the files.
    """

    name: str
    reason: str
    bytes: int
    files: int
    output: StoredOutput | None = None
    names: tuple[str, ...] = ()
    may_work: bool = False
    keeps_plan: bool = False
    costs: tuple[str, ...] = ()

    @property
    def is_sealed(self) -> bool:
        """True if it is a whole output that a run may find sealed, without a lease."""
        return self.output is not None and bool(self.output.sealed) and not self.names


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """The removals from a root, and what stays although no finished run refers to it.

    Attributes:
        removals: In the order of their removal: an output comes before those that it was made from.
        kept: Why an output stays that no finished run refers to, by its folder.
        inventory: Everything below the root.
    """

    removals: Sequence[Removal]
    kept: Mapping[str, str]
    inventory: Inventory

    @property
    def bytes(self) -> int:
        """The size of all removals."""
        return sum(removal.bytes for removal in self.removals)


def find_removals(
    inventory: Inventory,
    *,
    now_s: float,
    older_than_s: float = 0.0,
    spare: Spare = lambda _: (),
    registered: Mapping[str, str] | None = None,
    costs: Mapping[str, Sequence[StoredObject]] | None = None,
) -> Pruning:
    """Return what nothing refers to.

    What a finished run refers to stays, with everything that it was made from; so does what a run holds, what is too
    young, and what a registered model names. If a record cannot be read, it may refer to anything: all outputs stay.

    Args:
        inventory: Everything below the root.
        now_s: Seconds since 1970 by the store's clock.
        older_than_s: Age in seconds below which an output stays.
        spare: Returns the files that an output no longer needs.
        registered: The registered models by the folder of the output that they name.
        costs: The records of cost by the folder of the output that they are of.
    """
    before_s = now_s - older_than_s if older_than_s else float("inf")
    kept = _roots(inventory, before_s, registered or {})
    left = "left by a process that ended"
    found = [_object(one, left) for one in inventory.leftovers if now_s - one.changed_s > _IN_FLIGHT_S]
    found += _jobs(inventory, now_s - max(_IN_FLIGHT_S, older_than_s))
    if inventory.damage:
        return Pruning(removals=found, kept=kept, inventory=inventory)
    needed = inventory.closure([*_referred(inventory), *kept])
    unneeded = [output for output in inventory.outputs.values() if output.folder not in needed]
    removed = {output.folder for output in unneeded if not output.is_placeholder}
    for output in inventory.by_use(unneeded):
        keeps_plan = _has_later(output, inventory, removed)
        if not (output.is_placeholder and keeps_plan):
            found.append(_whole(output, (costs or {}).get(output.folder, ()), keeps_plan=keeps_plan))
    for folder in sorted(folder for folder in needed if not inventory.outputs[folder].holder):
        found += _spare(inventory.outputs[folder], spare, before_s)
    found += [
        _object(run.note, "the note of a run that was not finished")
        for run in inventory.runs
        if run.note is not None and not run.holder and run.changed_s <= before_s
    ]
    used = inventory.closure(_referred(inventory))
    others = {name: why for name, why in kept.items() if name not in used}
    return Pruning(removals=found, kept=others, inventory=inventory)


def _referred(inventory: Inventory) -> list[str]:
    """Return the folders that finished runs name."""
    manifests = {name for run in inventory.runs for name in run.artifacts.values()}
    return sorted({"/".join(name.split("/")[:2]) for name in manifests})


def _roots(inventory: Inventory, before_s: float, registered: Mapping[str, str]) -> dict[str, str]:
    """Return the outputs that stay for another reason than a finished run, and the reasons."""
    kept: dict[str, str] = {}
    for folder, output in inventory.outputs.items():
        if output.holder:
            kept[folder] = output.holder
        elif folder in registered:
            kept[folder] = f"{registered[folder]} names it"
        elif output.size.changed_s > before_s:
            kept[folder] = "is younger"
    return kept


def _has_later(output: StoredOutput, inventory: Inventory, removed: set[str]) -> bool:
    """Tell whether a later attempt at the same plan stays; it is found by counting up, without a gap."""
    return output.attempt > 0 and any(
        (other.stage, other.key) == (output.stage, output.key)
        and other.attempt > output.attempt
        and other.folder not in removed
        and not other.is_placeholder
        for other in inventory.outputs.values()
    )


def _whole(output: StoredOutput, costs: Sequence[StoredObject], *, keeps_plan: bool) -> Removal:
    if not output.size.files:
        reason = "a lease that a killed process left"
    elif output.is_superseded:
        reason = "put aside: a later attempt began afresh"
    elif output.sealed:
        reason = "sealed, and no finished run refers to it"
    else:
        reason = "begun, and no finished run refers to it"
    return Removal(
        name=output.folder,
        reason=reason,
        bytes=output.size.bytes + sum(one.bytes for one in costs),
        files=output.size.files - keeps_plan + len(costs),
        output=output,
        keeps_plan=keeps_plan,
        costs=tuple(one.name for one in costs),
    )


def _spare(output: StoredOutput, spare: Spare, before_s: float) -> list[Removal]:
    """Return the files that an output which stays no longer needs."""
    if not output.sealed or output.size.changed_s > before_s:
        return []
    objects = spare(output)
    if not objects:
        return []
    return [
        Removal(
            name=output.folder,
            reason="spare checkpoints: training went on from later ones",
            bytes=sum(one.bytes for one in objects),
            files=len(objects),
            output=output,
            names=tuple(one.name for one in objects),
        )
    ]


def _jobs(inventory: Inventory, before_s: float) -> list[Removal]:
    """Return the files of jobs that nobody follows and that were not touched for long, the outcome of each last."""
    return [
        Removal(
            name=job.folder,
            reason="of a job that has ended" if job.has_ended else "of a job that left no outcome",
            bytes=sum(one.bytes for one in job.objects),
            files=len(job.objects),
            names=tuple(sorted((one.name for one in job.objects), key=lambda name: name.endswith(OUTCOME))),
            may_work=not job.has_ended,
        )
        for job in inventory.jobs
        if not job.follower and job.changed_s < before_s
    ]


def _object(one: StoredObject, reason: str) -> Removal:
    return Removal(name=one.name, reason=reason, bytes=one.bytes, files=1, names=(one.name,))
