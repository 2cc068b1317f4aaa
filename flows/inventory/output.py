"""An output below a root as an inventory knows it: its plan, what it sealed, its size, and who holds it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.digests import Json
from infra.outputs.environments import environment_in_words
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Plan

State = Literal["held", "damaged", "sealed", "begun", "removed"]
PLAN = "plan.json"
MANIFESTS = "manifests"
LEASE = "lease"
# The folder of an output: its stage's folder, its key, and the number of a later attempt.
FOLDER = re.compile(r"(?P<stage>[a-z][a-z_]*)/(?P<key>[0-9a-f]{20})(\.(?P<attempt>[1-9]\d*))?")
# The record that commits something, such as units/000007.json.
_RECORD = re.compile(r"[a-z_]+/\d+\.json")
_NOT_RECORDS = (MANIFESTS, LEASE, "environments", "sources")


@dataclass(frozen=True, kw_only=True)
class SealedGoal:
    """A goal that an output sealed.

    Attributes:
        manifest: The name of its manifest in the store.
        goal: The requested amount; empty if the stage has none.
        digest: The digest of its units.
        units: Their number.
        settings: The settings that were used, with those that have their defaults.
        folders: The folders of the outputs that it names as what it rests on, by their labels.
        environment: The versions and devices that computed it; several are joined by "then".
        facts: The further facts that a line about it needs.
    """

    manifest: str
    goal: Mapping[str, int]
    digest: str
    units: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Json = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> "SealedGoal":
        """Return the goal that a manifest seals."""
        facts, folders = manifest.facts, manifest.facts.get("outputs", {})
        return cls(
            manifest=manifest.name,
            goal=manifest.goal,
            digest=manifest.digest,
            units=len(manifest.units),
            settings=facts.get("settings", {}),
            folders=folders if isinstance(folders, dict) else {},
            environment=environment_in_words(manifest),
            facts={name: facts[name] for name in ("images", "images_seen", "initial", "place") if name in facts},
        )


@dataclass(kw_only=True)
class Size:
    """The size and the times of an output, summed up as its objects are listed.

    Attributes:
        bytes: Their sizes in all, without leases.
        files: Their number, without leases.
        records: Number of records that commit something.
        changed_s: When the last one was put, in seconds since 1970 by the store's clock.
        manifests: The names of the manifests in the store.
        leases: The names of the leases' objects.
        has_plan: Whether there is a plan.
    """

    bytes: int = 0
    files: int = 0
    records: int = 0
    changed_s: float = 0.0
    manifests: list[str] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    has_plan: bool = False

    def add(self, name: str, inside: str, size: int, changed_s: float) -> None:
        """Count an object with this name in the store, and this one inside the output's folder."""
        top = inside.partition("/")[0]
        if top == LEASE:
            self.leases.append(name)
            return
        self.bytes += size
        self.files += 1
        self.changed_s = max(self.changed_s, changed_s)
        self.has_plan = self.has_plan or inside == PLAN
        if top == MANIFESTS and name.endswith(".json"):
            self.manifests.append(name)
        elif _RECORD.fullmatch(inside) and top not in _NOT_RECORDS:
            self.records += 1


@dataclass(frozen=True, kw_only=True)
class StoredOutput:
    """An output below a root.

    Attributes:
        folder: Its folder in the store.
        size: What a listing tells of it.
        plan: Its plan; None if that is missing or damaged.
        sealed: The goals that it sealed, by their manifests' names.
        damage: Lines about its plan and manifests that cannot be read.
        holder: A line about the run that holds its lease; empty if nobody does.
        is_superseded: Whether a later attempt at the same plan is there.
    """

    folder: str
    size: Size
    plan: Plan | None = None
    sealed: Sequence[SealedGoal] = ()
    damage: Sequence[str] = ()
    holder: str = ""
    is_superseded: bool = False

    @property
    def stage(self) -> str:
        """Its stage's folder."""
        return self.folder.partition("/")[0]

    @property
    def key(self) -> str:
        """Its stage key, without the number of a later attempt."""
        return self.folder.partition("/")[2].partition(".")[0]

    @property
    def attempt(self) -> int:
        """Its attempt; 0 for the first one."""
        return int(self.folder.rpartition(".")[2]) if "." in self.folder else 0

    @property
    def is_placeholder(self) -> bool:
        """True if a removal left its plan alone, which keeps the number of the attempt taken."""
        return self.is_superseded and self.size.has_plan and self.size.files == 1

    @property
    def state(self) -> State:
        """Its state in a word; `held` also if it is sealed, because a run may extend it."""
        if self.holder:
            return "held"
        if self.damage:
            return "damaged"
        if self.is_placeholder:
            return "removed"
        return "sealed" if self.sealed else "begun"

    @property
    def units(self) -> int:
        """The largest number of units that it sealed; if it sealed none, the number of records so far."""
        return max((goal.units for goal in self.sealed), default=self.size.records)

    @property
    def goals(self) -> str:
        """The amounts that it sealed, such as "images 640, 1,280"; empty if its stage has no goal."""
        amounts: dict[str, list[int]] = {}
        for goal in self.sealed:
            for name, amount in goal.goal.items():
                amounts.setdefault(name, []).append(amount)
        return "; ".join(f"{name} {', '.join(f'{one:,}' for one in sorted(them))}" for name, them in amounts.items())


def parse_plan(data: bytes, folder: str) -> Plan | None:
    """Read a stored plan; None if it is damaged or of another folder, which is named after its digest."""
    place = FOLDER.fullmatch(folder)
    try:
        plan = Plan(**json.loads(data))
        is_of_folder = place is not None and (plan.stage, plan.key) == (place["stage"], place["key"])
    except (ValueError, TypeError):
        return None
    valid = isinstance(plan.settings, dict) and isinstance(plan.inputs, dict)
    return plan if valid and is_of_folder else None
