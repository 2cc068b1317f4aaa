"""Removes from a root what nothing refers to, such that a kill at any moment leaves what a run or a reader expects.

An output loses its manifests first, so that nothing looks sealed whose files are going. Then its records go, the latest
one first: what is left is a state that the output was in before, from which a run can go on. The records of its cost
and the files that a record named follow, and the plan is last, so that a later removal knows the folder and finishes
it.

A process that was stopped, or whose machine slept, may find that runs took it for ended and went on. So it confirms its
leases before each deletion, and ends if one is lost.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flows.inventory.output import MANIFESTS, PLAN, StoredOutput
from flows.inventory.pruning import Pruning, Removal
from flows.stages.table import STAGES
from infra.errors import ConflictError
from infra.outputs.lease import Lease, held
from infra.outputs.lease_holder import Holder
from infra.outputs.plan import Output
from infra.outputs.presence import removal
from infra.storage.store import Store, StoredObject

WHO = "ddpm prune"
_DELETERS = 16
# A file that some record names, such as units/000007.0a1b2c3d4e5f.parquet.
_NAMED_BY_DIGEST = re.compile(r"\.[0-9a-f]{12}\.[a-z]+$")


@dataclass(kw_only=True)
class Outcome:
    """The outcome of the removals.

    Attributes:
        removed: Those that were carried out.
        kept: Why the others were not, by their names.
    """

    removed: list[Removal] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of what was removed."""
        return sum(one.bytes for one in self.removed)


def remove(
    store: Store,
    shown: Pruning,
    find: Callable[[], Pruning],
    *,
    say: Callable[[str], None],
    hindrance: str = "",
    on_removed: Callable[[Removal], None] = lambda _: None,
) -> Outcome:
    """Remove what was shown and is still unneeded; runs that begin meanwhile wait for the end.

    Args:
        store: The root.
        shown: The removals that the user has seen.
        find: Finds the removals anew, since runs may have begun and ended since then.
        say: Receives a line about each wait.
        hindrance: Why no sealed output may be removed; empty if any may.
        on_removed: Receives each removal once it is carried out.

    Raises:
        ConflictError: If another removal is at work, or this process stood still for so long that it counted as ended.
        StorageError: If the store does not answer; another call goes on.
    """
    outcome, known = Outcome(), {_identity(one): one for one in shown.removals}
    with removal(store, _me(), on_wait=say) as announced:
        reason = hindrance or next(iter(announced.runs), "")
        found = find()
        blocked: set[str] = set()
        for one in found.removals:
            if _identity(one) not in known:
                continue  # nobody has seen it
            why = _obstacle(one, known.pop(_identity(one)), blocked, reason, at_work=bool(announced.runs))
            why = why or _carry_out(store, _with_plan(one, outcome), announced.lease)
            if not why:
                outcome.removed.append(one)
                on_removed(one)
                continue
            outcome.kept[one.name] = why
            if one.output is not None:
                blocked |= found.inventory.closure([one.output.folder])
        for one in known.values():
            outcome.kept.setdefault(one.name, "is needed now, or gone")
    return outcome


def spare_objects(store: Store, output: StoredOutput) -> Sequence[StoredObject]:
    """Return the objects that a sealed output no longer needs, as its stage knows, in the order of their removal."""
    finders = [stage.spare for stage in STAGES if stage.spare is not None and stage.folders[:1] == (output.stage,)]
    if not finders or output.plan is None:
        return ()
    names = finders[0](Output(store=store, plan=output.plan, attempt=output.attempt))
    sizes = {one.name: one for one in store.objects(output.folder)} if names else {}
    return [sizes[name] for name in names if name in sizes]


def _me() -> Holder:
    return Holder.here(WHO, datetime.now(UTC))


def _identity(one: Removal) -> tuple[str, bool]:
    """Tell a whole output from some of its files."""
    return one.name, bool(one.names)


def _with_plan(one: Removal, outcome: Outcome) -> Removal:
    """Return a removal that keeps the plan of an attempt if another attempt stays, which is found by counting on."""
    if one.output is None or one.names:
        return one
    work = one.output.folder.partition(".")[0]
    stays = any(name.partition(".")[0] == work for name in outcome.kept)
    return replace(one, keeps_plan=True) if stays else one


def _obstacle(one: Removal, shown: Removal, blocked: set[str], reason: str, *, at_work: bool) -> str:
    if one.bytes != shown.bytes or one.files != shown.files:
        return "has changed since it was listed"
    whole = one.output is not None and not one.names
    # A run at work takes no lease of an output that it goes on with before it gets there.
    if at_work and one.may_work:
        return f"it may be at work: {reason}"
    if reason and (one.is_sealed or (at_work and whole)):
        return f"a run may have found it: {reason}"
    if one.output is not None and not one.names and one.output.folder in blocked:
        return "something that stays was made from it"
    return ""


def _carry_out(store: Store, one: Removal, announcement: Lease) -> str:
    """Remove one thing; return why not, or nothing."""
    announcement.confirm()
    with ExitStack() as stack:
        leases = [announcement]
        if one.output is not None:
            lease = f"{one.output.folder}/lease"
            try:
                leases.append(
                    stack.enter_context(held(store, lease, _me(), on_wait=lambda _: None, wait=False, warn=False))
                )
            except ConflictError as error:
                return error.cause

        def delete(name: str) -> None:
            for each in leases:
                each.confirm()
            store.delete(name)

        if one.output is not None and not one.names:
            return _remove_output(store, one, one.output, delete)
        for name in one.names:
            delete(name)
        return ""


def _remove_output(store: Store, one: Removal, output: StoredOutput, delete: Callable[[str], None]) -> str:
    """Remove an output while this process holds its lease, unless a run has worked on it since it was read."""
    objects = _sorted(output.folder, store)
    manifests = [name for name in objects.manifests if name not in output.size.manifests]
    if manifests or objects.files != output.size.files:
        return "has changed since it was listed"
    # The records of cost are next, before the files by which a later removal knows that this one did not end.
    for name in (*objects.manifests, *objects.records, *one.costs):
        delete(name)
    with ThreadPoolExecutor(_DELETERS) as pool:
        list(pool.map(delete, objects.named))
    if not one.keeps_plan:
        delete(f"{output.folder}/{PLAN}")
    return ""


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """The objects of an output by the step in which they are removed."""

    manifests: Sequence[str]
    records: Sequence[str]
    named: Sequence[str]
    has_plan: bool

    @property
    def files(self) -> int:
        return len(self.manifests) + len(self.records) + len(self.named) + self.has_plan


def _sorted(folder: str, store: Store) -> _Objects:
    steps: Mapping[str, list[StoredObject]] = {"manifests": [], "records": [], "named": [], "plan": []}
    for one in store.objects(folder):
        inside = one.name.removeprefix(f"{folder}/")
        top = inside.partition("/")[0]
        if top == MANIFESTS:
            steps["manifests"].append(one)
        elif inside == PLAN:
            steps["plan"].append(one)
        elif top != "lease":
            steps["named" if _NAMED_BY_DIGEST.search(inside) else "records"].append(one)
    latest_first = {
        step: [one.name for one in sorted(found, key=lambda one: (one.changed_s, one.name), reverse=True)]
        for step, found in steps.items()
    }
    return _Objects(
        manifests=latest_first["manifests"],
        records=latest_first["records"],
        named=latest_first["named"],
        has_plan=bool(steps["plan"]),
    )
