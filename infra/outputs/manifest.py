"""A sealed output as its readers see it: a manifest that names every file with its digest, and those files.

Readers rely on a manifest, never on a listing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.digests import Json, canonical_json, sha256
from infra.errors import IntegrityError, Term
from infra.storage.store import Store

MANIFEST_VERSION = 2
_RESTORE = f"restore it from a copy, or {Term.RUN_ANEW}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of a sealed output, and the only thing that readers trust.

    Attributes:
        stage: The stage's name.
        key: The stage key.
        folder: The output's folder in the store.
        goal: The requested amount, such as {"count": 512}.
        units: The units' records in order, each with `rows`, the number of its rows that belong to the goal.
        facts: Figures about the whole output.
        digest: sha256 over the units' digests and rows.
        plan: The plan as JSON.
        environment: The software and hardware that began the output; `infra.outputs.environments` lists later ones.
    """

    stage: str
    key: str
    folder: str
    goal: dict[str, int]
    units: list[Json]
    facts: Json
    digest: str
    plan: Json
    environment: Json

    @property
    def name(self) -> str:
        """The name of the manifest in the store."""
        return manifest_name(self.folder, self.goal)

    def as_json(self) -> Json:
        """Return the manifest as stored; `sha256` covers all other fields."""
        value = {"format": "ddpm-manifest", "version": MANIFEST_VERSION, **self.__dict__}
        return value | {"sha256": sha256(canonical_json(value))}


def manifest_name(folder: str, goal: dict[str, int]) -> str:
    """The name of the manifest in the store that seals a goal."""
    file = "-".join(f"{key}-{value}" for key, value in sorted(goal.items())) or "all"
    return f"{folder}/manifests/{file}.json"


def parse_manifest(data: bytes, item: str) -> Manifest:
    """Read a stored manifest; check that nothing in it was changed and that its digest follows from its units.

    Raises:
        IntegrityError: If it is not a manifest, or a check fails.
    """
    try:
        value = json.loads(data)
        if value["format"] != "ddpm-manifest" or value["version"] != MANIFEST_VERSION:
            remedy = f"use the release that wrote it, choose {Term.ANOTHER_ROOT}, or {Term.RUN_ANEW}"
            raise IntegrityError("not a manifest of this version", item=item, remedy=remedy)
        checksum = value.pop("sha256")
        if sha256(canonical_json(value)) != checksum:
            raise IntegrityError("was changed since it was sealed", item=item, remedy=_RESTORE)
        manifest = Manifest(**{name: value[name] for name in value.keys() - {"format", "version"}})
        expected = root_digest(manifest.units)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("not a manifest", item=item, remedy=_RESTORE) from error
    if expected != manifest.digest:
        raise IntegrityError("the digest does not follow from the units", item=item, remedy=_RESTORE)
    return manifest


def read_manifest(store: Store, folder: str) -> Manifest:
    """Read the manifest of an output without a goal.

    Raises:
        IntegrityError: If it is missing or damaged.
    """
    name = manifest_name(folder, {})
    try:
        return parse_manifest(store.read(name), item=name)
    except FileNotFoundError as error:
        raise IntegrityError("is missing", item=name, remedy=_RESTORE) from error


def root_digest(units: list[Json]) -> str:
    """The sha256 over the ordered units' digests and rows."""
    return sha256(canonical_json([[unit["sha256"], unit["rows"]] for unit in units]))


def read_verified(store: Store, folder: str, unit: Json) -> bytes:
    """Return a unit's bytes.

    Raises:
        IntegrityError: If they are missing or differ from what was committed.
    """
    data = read_part(store, folder, unit)
    if len(data) != unit["bytes"] or sha256(data) != unit["sha256"]:
        raise IntegrityError("differs from its digest", item=f"{folder}/{unit['file']}", remedy=_RESTORE)
    return data


def read_part(store: Store, folder: str, unit: Json, start: int = 0, length: int | None = None) -> bytes:
    """Return some of a unit's bytes, unverified, since the digest covers only the whole.

    Raises:
        IntegrityError: If they are missing.
    """
    item = f"{folder}/{unit['file']}"
    try:
        return store.read(item, start, length)
    except FileNotFoundError as error:
        raise IntegrityError("is missing", item=item, remedy=_RESTORE) from error


def verify(store: Store, manifest: Manifest, whole: set[str] | None = None) -> None:
    """Read every file that a manifest names, in its units and anywhere in its facts, and compare it with its digest.

    Args:
        store: The store that holds it.
        manifest: The manifest.
        whole: What earlier calls found whole, which is not read again; it grows. Manifests of one output may name the
            same files, as those of a training's points do.
    """
    whole = set() if whole is None else whole
    for record in named_files(manifest):
        name = f"{manifest.folder}/{record['file']} {record['sha256']}"
        if name not in whole:
            read_verified(store, manifest.folder, record)
            whole.add(name)


def named_files(manifest: Manifest) -> Iterator[Json]:
    """Yield the record of each file that a manifest names, in its units and anywhere in its facts."""
    yield from manifest.units
    yield from _named(manifest.facts)


def _named(value: Any) -> Iterator[Json]:  # noqa: ANN401 - JSON values
    """Yield the records of files in JSON values, at any depth."""
    if isinstance(value, dict):
        if {"file", "sha256", "bytes"} <= value.keys():
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _named(part)
