"""A stage's output: a plan of deterministic units, committed put-if-absent, sealed by a manifest.

    <root>/<stage>/<key>/plan.json            everything that determines the output
                        /environment.json     the software and hardware that began it (see `infra.outputs.environments`)
                        /units/000000.json    the record that commits unit 0; it names the bytes by their digest
                        /units/000000.<sha>.parquet
                        /manifests/<goal>.json

Workers run at least once, but the effect is exactly once: a unit's bytes are a function of (plan, unit), and the first
record wins.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from infra.digests import Json, canonical_json, sha256
from infra.errors import ConflictError, IntegrityError, Term
from infra.outputs.environments import FACT, Environments, involved
from infra.outputs.manifest import Manifest, manifest_name, parse_manifest, read_verified, root_digest
from infra.storage.store import Store

_KEY_DIGITS = 20
_DIGEST_IN_NAME = 12
_MAX_ATTEMPTS = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that determines an output.

    Attributes:
        stage: The stage's name.
        format_version: A number that is raised whenever the same settings give other bytes.
        settings: The result settings without the goals.
        inputs: The inputs' digests by name.
    """

    stage: str
    format_version: int
    settings: Json
    inputs: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """The sha256 of the plan as JSON."""
        return sha256(canonical_json(self.as_json()))

    @property
    def key(self) -> str:
        """The stage key: the fingerprint's first 20 digits; the output's folder and MLflow's tag."""
        return self.fingerprint[:_KEY_DIGITS]

    def as_json(self) -> Json:
        """Return the plan as stored."""
        return {
            "stage": self.stage,
            "format_version": self.format_version,
            "settings": self.settings,
            "inputs": self.inputs,
        }


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a committed object: its file, and the size and digest that the file must have."""

    file: str
    bytes: int
    sha256: str
    facts: Json

    def as_json(self) -> Json:
        """Return the record as stored."""
        return {"file": self.file, "bytes": self.bytes, "sha256": self.sha256, "facts": self.facts}


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The start of a run's work on an output.

    Attributes:
        is_new: Whether this run began the output.
        change: How this environment differs from the one before, in words; empty if it does not.
    """

    is_new: bool
    change: str


@dataclass(frozen=True, kw_only=True)
class Output:
    """The output of a plan in a store.

    Attributes:
        store: The store.
        plan: The plan.
        attempt: 0 for the first attempt; each run that starts afresh beside earlier attempts adds 1.
    """

    store: Store
    plan: Plan
    attempt: int = 0

    @property
    def folder(self) -> str:
        """The output's folder in the store."""
        aside = f".{self.attempt}" if self.attempt else ""
        return f"{self.plan.stage}/{self.plan.key}{aside}"

    def manifest(self, goal: dict[str, int]) -> Manifest | None:
        """Return the manifest that sealed this goal, if any."""
        name = manifest_name(self.folder, goal)
        try:
            return parse_manifest(self.store.read(name), item=name)
        except FileNotFoundError:
            return None

    def begin(
        self, environment: Json, *, done: Callable[[], Mapping[str, int]] = dict, strict: bool = False
    ) -> "Beginning":
        """Write plan and environment, or go on with an output that was begun earlier, in another environment too.

        Args:
            environment: The software and hardware that its bytes may depend on, by name.
            done: Returns the amount of work done so far; recorded with another environment.
            strict: Refuse an output on which another environment has worked.

        Raises:
            ConflictError: If the output was begun with another plan or, with `strict`, in another environment.
        """
        is_new = self._put_plan()
        if strict:
            self.refuse_others(environment)
        environments = Environments(store=self.store, folder=self.folder)
        return Beginning(is_new=is_new, change=environments.enter(environment, done))

    def refuse_others(self, environment: Json) -> None:
        """Refuse an output on which another environment than this one has worked; write nothing.

        Raises:
            ConflictError: If one has.
        """
        if others := Environments(store=self.store, folder=self.folder).others(environment):
            raise ConflictError(
                f"was begun in another environment ({others})",
                item=f"output {self.folder}",
                stage=self.plan.stage,
                remedy=f"{Term.ANY_ENVIRONMENT}, finish it there, or {Term.RUN_ANEW} to start afresh beside it",
            )

    def _put_plan(self) -> bool:
        """Write the plan; return whether the output is new."""
        path, plan = f"{self.folder}/plan.json", self.plan.as_json()
        if self.store.put_if_absent(path, canonical_json(plan)):
            return True
        try:
            stored: Json = dict(json.loads(self.store.read(path)))
        except (ValueError, TypeError):
            # The folder is named after the plan's digest, so what was there can be written again.
            logger.warning("%s was damaged and is written again", path)
            self.store.replace(path, canonical_json(plan))
            return False
        if stored != plan:
            differing = sorted(k for k in stored.keys() | plan.keys() if stored.get(k) != plan.get(k))
            detail = ", ".join(f"{key}: {stored.get(key)} there, {plan.get(key)} here" for key in differing)
            raise ConflictError(
                f"was begun with another plan ({detail})",
                item=f"output {self.folder}",
                stage=self.plan.stage,
                remedy=f"restore plan.json from a copy, or {Term.RUN_ANEW} to start afresh beside it",
            )
        return False

    def commit(self, name: str, suffix: str, data: bytes, facts: Json) -> Record:
        """Commit bytes under a name and return the name's record, which is that of the first committer."""
        digest = sha256(data)
        record = Record(file=f"{name}.{digest[:_DIGEST_IN_NAME]}.{suffix}", bytes=len(data), sha256=digest, facts=facts)
        self.store.put_if_absent(f"{self.folder}/{record.file}", data)
        if self.store.put_if_absent(f"{self.folder}/{name}.json", canonical_json(record.as_json())):
            return record
        stored = self.record(name)
        assert stored is not None, f"{self.folder}/{name}.json was there a moment ago"
        if stored.sha256 != digest:
            self.store.delete(f"{self.folder}/{record.file}")
        return stored

    def record(self, name: str) -> Record | None:
        """Return the record committed under a name, or None if there is none."""
        path = f"{self.folder}/{name}.json"
        try:
            return Record(**json.loads(self.store.read(path)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            # The bytes are a function of plan and unit, so a record that is gone is made again.
            remedy = f"delete it and run again, or {Term.RUN_ANEW}"
            raise IntegrityError("not a record", item=path, remedy=remedy) from error

    def records(self, folder: str) -> list[str]:
        """Return the names committed below a folder of the output, sorted."""
        names = self.store.list(f"{self.folder}/{folder}")
        return [name.removeprefix(f"{self.folder}/").removesuffix(".json") for name in names if name.endswith(".json")]

    def read(self, record: Record) -> bytes:
        """Return a record's bytes, verified."""
        return read_verified(self.store, self.folder, record.as_json())

    def seal(self, goal: dict[str, int], units: list[Json], facts: Json) -> Manifest:
        """Check every unit's bytes against its record and write the manifest.

        Args:
            goal: The requested amount, such as {"count": 512}.
            units: Each unit's record as JSON, with `unit` and `rows` added.
            facts: Figures about the whole output; not part of the digest. If several environments computed it, they are
                added under `environments`.

        Raises:
            IntegrityError: If a unit is missing or damaged, or another run sealed other bytes.
        """
        for unit in units:
            read_verified(self.store, self.folder, unit)
        periods = involved(Environments(store=self.store, folder=self.folder).periods(), goal)
        if len(periods) > 1:
            facts = facts | {FACT: [period.as_json() for period in periods]}
        manifest = Manifest(
            stage=self.plan.stage,
            key=self.plan.key,
            folder=self.folder,
            goal=goal,
            units=units,
            facts=facts,
            digest=root_digest(units),
            plan=self.plan.as_json(),
            environment=dict(periods[0].environment),
        )
        name = manifest.name
        if self.store.put_if_absent(name, canonical_json(manifest.as_json())):
            return manifest
        stored = parse_manifest(self.store.read(name), item=name)
        if stored.digest != manifest.digest:
            remedy = f"run again to use what is sealed, or {Term.RUN_ANEW}"
            raise IntegrityError("sealed by another run with other bytes", item=name, remedy=remedy)
        return stored


def current(output: Output, *, force: bool = False) -> Output:
    """Return the output's latest attempt, or with `force` a new one beside it if that has begun."""
    latest = 0
    for attempt in range(1, _MAX_ATTEMPTS):
        if not output.store.exists(f"{replace(output, attempt=attempt).folder}/plan.json"):
            break
        latest = attempt
    begun = output.store.exists(f"{replace(output, attempt=latest).folder}/plan.json")
    return replace(output, attempt=latest + 1 if force and begun else latest)
