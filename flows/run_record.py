"""The record of a finished run: run.json next to its report, found by the run's name or the digits of its key."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.artifacts import Dataset, Figures, Samples, Snapshot, artifact_from_json
from flows.cost import StageCost, cost_from_json
from infra.digests import canonical_json
from infra.errors import InputError, IntegrityError
from infra.storage.store import Store

FOLDER = "reports"
RECORD = "run.json"
# Beside it, if the run was tracked: what `ddpm track flush` needs to know of it.
TRACKING = "tracking.json"
# The folder of a note per run that has begun and is not finished.
BEGUN = ".runs"


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The artifacts that the four stages of a run sealed."""

    dataset: Dataset
    snapshot: Snapshot
    samples: Samples
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record of a finished run.

    Attributes:
        name: The run's name.
        finished: The artifacts.
        elsewhere: The run's pages in other programs, by the program's name.
        costs: The cost of each stage; a stage without a record of it is left out.
    """

    name: str
    finished: FinishedRun
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, StageCost] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder of the report and the record in the store."""
        return f"{FOLDER}/{self.name}"

    def write(self, store: Store) -> None:
        """Write the record; equal records have equal bytes."""
        run: dict[str, Any] = {kind: part | {"reused": True} for kind, part in asdict(self.finished).items()}
        # Sorted, because a repeated run reads its counts from the manifest in another order than it computed them.
        run["figures"]["counts"] = dict(sorted(run["figures"]["counts"].items()))
        run["elsewhere"] = dict(self.elsewhere)
        run["costs"] = [cost.as_json() for cost in self.costs.values()]
        store.replace(f"{self.folder}/{RECORD}", json.dumps(run, indent=2).encode())
        store.delete(_begun_path(self.name))


def note_begun(name: str, settings: Mapping[str, Any], store: Store) -> None:
    """Note that a run has begun; its record takes the place of the note once it is finished.

    Args:
        name: The run's name.
        settings: Its settings by their full names.
        store: The store of its outputs.
    """
    store.put_if_absent(_begun_path(name), canonical_json({"settings": dict(settings)}))


def begun_settings(name: str, store: Store) -> dict[str, Any]:
    """Return the settings of a run that has begun; nothing if it is finished meanwhile, or the note is damaged."""
    try:
        settings = json.loads(store.read(_begun_path(name)))["settings"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _begun_path(name: str) -> str:
    return f"{BEGUN}/{name}.json"


def run_names(store: Store) -> list[str]:
    """Return the names of the finished runs of a store, sorted."""
    parts = (entry.split("/") for entry in store.list(FOLDER))
    return sorted(rest[0] for _, *rest in parts if rest[1:] == [RECORD])


def read_record(name: str, store: Store) -> RunRecord:
    """Read the record of a finished run.

    Args:
        name: The run's name, the digits of its key, or the text before them.
        store: The store that holds the run.

    Raises:
        InputError: If there is no finished run of that name, or several; the line lists those that exist.
        IntegrityError: If the record is damaged.
    """
    name = _full_name(name, store)
    try:
        return parse_record(store.read(record_path(name)), name)
    except FileNotFoundError as error:
        names = run_names(store)
        remedy = f"choose one of {', '.join(names)}" if names else "`ddpm run` makes one"
        raise InputError(f"no finished run of that name below {store.uri}", item=name, remedy=remedy) from error


def record_path(name: str) -> str:
    """Return the name of a finished run's record in the store."""
    return f"{FOLDER}/{name}/{RECORD}"


def parse_record(data: bytes, name: str) -> RunRecord:
    """Read a stored record.

    Args:
        data: Its bytes.
        name: The run's whole name.

    Raises:
        IntegrityError: If the record is damaged.
    """
    path = record_path(name)
    try:
        run: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise IntegrityError("is not a run's record", item=path, remedy="run the pipeline again") from error
    try:
        finished = FinishedRun(
            dataset=artifact_from_json(Dataset, run["dataset"]),
            snapshot=artifact_from_json(Snapshot, run["snapshot"]),
            samples=artifact_from_json(Samples, run["samples"]),
            figures=artifact_from_json(Figures, run["figures"]),
        )
    except (KeyError, TypeError, IntegrityError) as error:
        raise IntegrityError("is not a run's record", item=path, remedy="run the pipeline again") from error
    return RunRecord(name=name, finished=finished, elsewhere=run.get("elsewhere", {}), costs=_costs(run.get("costs")))


def _costs(value: object) -> dict[str, StageCost]:
    """Return the costs of a record by stage; a record of an earlier release has none."""
    found = [cost_from_json(part) for part in value if isinstance(part, dict)] if isinstance(value, list) else []
    return {cost.stage: cost for cost in found if cost is not None}


def _full_name(name: str, store: Store) -> str:
    """Return the name of the run whose name ends in these digits or is this text and digits; `name` if there is none.

    Raises:
        InputError: If there are several.
    """
    names = run_names(store)
    if name in names:
        return name
    ending = [known for known in names if known.endswith(f"-{name}")]
    if len(ending) > 1:
        raise InputError("is the end of several runs' names", item=name, remedy=f"choose one of {', '.join(ending)}")
    if ending:
        return ending[0]
    starting = [known for known in names if known.rpartition("-")[:2] == (name, "-")]
    if len(starting) > 1:
        raise InputError(
            "is the start of several runs' names", item=name, remedy=f"choose one of {', '.join(starting)}"
        )
    return starting[0] if starting else name
