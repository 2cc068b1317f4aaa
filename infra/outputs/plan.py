"""A stage's output: a plan of deterministic units, committed put-if-absent, sealed by a manifest.

    <root>/<stage>/<key>/plan.json            everything that determines the output
                        /environment.json     the software and hardware that compute it
                        /units/000000.json    the record that commits unit 0; it names the bytes by their digest
                        /units/000000.<sha>.parquet
                        /manifests/<goal>.json

Workers run at least once, but the effect is exactly once: a unit's bytes are a function of (plan, unit), and the first
record wins.
"""

import json
from dataclasses import dataclass, replace

from infra.digests import Json, canonical_json, sha256
from infra.errors import ConflictError, IntegrityError, Term
from infra.outputs.manifest import Manifest, manifest_name, parse_manifest, read_verified, root_digest
from infra.storage.store import Store

_KEY_DIGITS = 20
_DIGEST_IN_NAME = 12
_MAX_ATTEMPTS = 1000


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

    def begin(self, environment: Json) -> None:
        """Write plan and environment, or join an output that was begun with the same ones.

        Raises:
            ConflictError: If the output was begun with another plan or in another environment.
            IntegrityError: If the stored plan or environment is damaged.
        """
        self._agree("plan.json", self.plan.as_json(), "was begun with another plan")
        self._agree("environment.json", environment, "was begun in another environment")

    def _agree(self, name: str, value: Json, complaint: str) -> None:
        path = f"{self.folder}/{name}"
        if self.store.put_if_absent(path, canonical_json(value)):
            return
        try:
            stored: Json = dict(json.loads(self.store.read(path)))
        except (ValueError, TypeError) as error:
            raise IntegrityError("is damaged", item=path, remedy=Term.RUN_ANEW) from error
        if stored != value:
            differing = sorted(k for k in stored.keys() | value.keys() if stored.get(k) != value.get(k))
            detail = ", ".join(f"{key}: {stored.get(key)} there, {value.get(key)} here" for key in differing)
            raise ConflictError(
                f"{complaint} ({detail})",
                item=f"output {self.folder}",
                stage=self.plan.stage,
                remedy=f"finish it there, or {Term.RUN_ANEW} to start afresh beside it",
            )

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
            raise IntegrityError("not a record", item=path, remedy=Term.RUN_ANEW) from error

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
            facts: Figures about the whole output; not part of the digest.

        Raises:
            IntegrityError: If a unit is missing or damaged, or another run sealed other bytes.
        """
        for unit in units:
            read_verified(self.store, self.folder, unit)
        manifest = Manifest(
            stage=self.plan.stage,
            key=self.plan.key,
            folder=self.folder,
            goal=goal,
            units=units,
            facts=facts,
            digest=root_digest(units),
            plan=self.plan.as_json(),
            environment=json.loads(self.store.read(f"{self.folder}/environment.json")),
        )
        name = manifest.name
        if self.store.put_if_absent(name, canonical_json(manifest.as_json())):
            return manifest
        stored = parse_manifest(self.store.read(name), item=name)
        if stored.digest != manifest.digest:
            raise IntegrityError("sealed by another run with other bytes", item=name, remedy=Term.RUN_ANEW)
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
