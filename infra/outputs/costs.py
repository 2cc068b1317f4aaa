"""The cost of each attempt at some work: a small record per attempt, beside the outputs and part of none of them.

    <root>/.costs/<stage>/<work>/000001.json

A work is everything that a stage does on the same settings and inputs, whatever the goal. An attempt puts its record
when its work begins and replaces it now and then, so that of an attempt that is killed the last record is known.
Nothing depends on a record: one that is missing or damaged is left out.
"""

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from infra.digests import canonical_json, sha256
from infra.errors import DdpmError
from infra.outputs.reading import read_within
from infra.storage.store import Store, StoredObject

_FOLDER = ".costs"
_DIGITS = 6
_KEY_DIGITS = 20
_NUMBER = re.compile(rf"(\d{{{_DIGITS},}})\.json")
SEALED, FAILED, STOPPED = "sealed", "failed", "stopped"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt at a stage, up to its end or to its last record.

    Attributes:
        stage: The stage's name.
        run: The name of the run that made it.
        settings: The result settings that enter the stage key.
        inputs: The digests of the inputs.
        goal: The goal by name.
        output: The folder of the stage's output; empty if it was not known yet.
        forced: Whether it worked beside what was sealed.
        outcome: `sealed`, `failed` or `stopped`; empty if it is at work or was killed.
        unit: The unit of the amounts, such as "images".
        start: The amount that was done before.
        done: The amount that was done at the end, with `start`.
        wall_s: Seconds, without those of waiting for another run.
        cpu_s: CPU seconds for which its workers were held.
        gpu_s: The same of GPUs.
        driver_cpu_s: CPU seconds that its own process used.
        data_wait_s: Seconds for which training waited for data.
        retries: The number of units or groups of workers that were begun again.
        output_bytes: The size of the sealed output; 0 if it did not seal one.
    """

    stage: str
    run: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    goal: Mapping[str, int] = field(default_factory=dict)
    output: str = ""
    forced: bool = False
    outcome: str = ""
    unit: str = ""
    start: int = 0
    done: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    driver_cpu_s: float = 0.0
    data_wait_s: float = 0.0
    retries: int = 0
    output_bytes: int = 0

    @property
    def amount(self) -> int:
        """The amount of work that it did, in `unit`."""
        return max(self.done - self.start, 0)

    def to_bytes(self) -> bytes:
        """Return the record as stored."""
        return canonical_json(asdict(self))

    @property
    def work(self) -> str:
        """The key of the work that it is an attempt at."""
        return work_key(self.stage, self.settings, self.inputs)


def work_key(stage: str, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Return the key of a work: everything that a stage does on these settings and digests of inputs."""
    return sha256(canonical_json([stage, dict(settings), list(inputs)]))[:_KEY_DIGITS]


def parse_attempt(data: bytes) -> Attempt | None:
    """Return a stored record; None if it is damaged. Fields of a later release are left out."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("stage"), str):
        return None
    usual = Attempt(stage="")
    known = {one.name: value[one.name] for one in fields(Attempt) if one.name in value}
    known |= {"inputs": tuple(known["inputs"])} if isinstance(known.get("inputs"), list) else {}
    kinds = {
        name: (int, float) if isinstance(getattr(usual, name), float) else type(getattr(usual, name)) for name in known
    }
    return Attempt(**known) if all(isinstance(known[name], kind) for name, kind in kinds.items()) else None


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The records of one work in a store.

    Attributes:
        store: The store of all outputs.
        stage: The stage's name.
        work: The key of the work.
    """

    store: Store
    stage: str
    work: str

    @property
    def folder(self) -> str:
        """The folder of the records."""
        return f"{_FOLDER}/{self.stage}/{self.work}"

    def claim(self, attempt: Attempt) -> str:
        """Put the record of a new attempt under the next free number; return its name.

        Raises:
            DdpmError: If the store fails.
        """
        numbers = [int(match[1]) for name in self.store.list(self.folder) if (match := _NUMBER.search(name))]
        number = max(numbers, default=0) + 1
        while not self.store.put_if_absent(name := f"{self.folder}/{number:0{_DIGITS}d}.json", attempt.to_bytes()):
            number += 1
        return name

    def attempts(self, own: Mapping[str, Attempt] = MappingProxyType({})) -> list[Attempt]:
        """Return the attempts in order; empty if the store fails.

        Args:
            own: The caller's attempts by the names of their records, which may be older on a slow store.
        """
        with contextlib.suppress(DdpmError, OSError):
            read = [[own[name]] if name in own else _read(self.store, [name]) for name in self.store.list(self.folder)]
            return [attempt for attempts in read for attempt in attempts]
        return []


class Attempts(NamedTuple):
    """The attempts at a stage below a root that were read in time.

    Attributes:
        attempts: The attempts, those at one work in their order.
        unread: The number of older records that were listed and not read.
    """

    attempts: list[Attempt]
    unread: int


def all_attempts(
    stage: str,
    store: Store,
    *,
    first: str = "",
    most: int = 1024,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
) -> Attempts:
    """Return the attempts at a stage below a root, on whatever settings; none if the store fails.

    Those at one work are always read. The others are read within a time, the newest first, several at once; listing
    them takes half of the time at most.

    Args:
        stage: The stage's name.
        store: The store of all outputs.
        first: The key of the work that is always read; empty for none.
        most: The number of other records to read at most.
        seconds: The time for the other records.
        clock: Returns seconds from any origin, from any thread.
    """
    own = Costs(store=store, stage=stage, work=first)
    found = own.attempts() if first else []
    began_s = clock()
    listed = _listed(store, f"{_FOLDER}/{stage}", lambda: clock() - began_s > seconds / 2)
    others = [one for one in listed if not (first and one.name.startswith(f"{own.folder}/"))]
    newest = sorted(others, key=lambda one: (one.changed_s, one.name), reverse=True)[:most]
    read = read_within(store, [one.name for one in newest], seconds - (clock() - began_s), clock)
    parsed = [parse_attempt(read[name]) for name in sorted(read)]
    return Attempts(found + [one for one in parsed if one is not None], len(others) - len(read))


def records_by_output(store: Store) -> dict[str, list[StoredObject]]:
    """Return the records of all attempts by the folder of the output that each worked on.

    An attempt that was killed before it knew its output worked on the first output of its work, unless it was forced.
    A record that cannot be read is left out.

    Raises:
        DdpmError: If the records cannot be listed.
    """
    objects = {one.name: one for one in store.objects(_FOLDER)}
    read = {name: parse_attempt(data) for name, data in read_within(store, sorted(objects), math.inf).items()}
    attempts = {name: one for name, one in read.items() if one is not None}
    first = {
        name.rpartition("/")[0]: one.output for name, one in attempts.items() if one.output and "." not in one.output
    }
    found: dict[str, list[StoredObject]] = {}
    for name, one in attempts.items():
        if output := one.output or ("" if one.forced else first.get(name.rpartition("/")[0], "")):
            found.setdefault(output, []).append(objects[name])
    return found


def _listed(store: Store, folder: str, is_over: Callable[[], bool]) -> list[StoredObject]:
    """Return the objects below a folder that are listed before a time is over; none more if the store fails."""
    found: list[StoredObject] = []
    with contextlib.suppress(DdpmError, OSError):
        for one in store.objects(folder):
            found.append(one)
            if is_over():
                break
    return found


def _read(store: Store, names: list[str]) -> list[Attempt]:
    found = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found.append(parse_attempt(store.read(name)))
    return [attempt for attempt in found if attempt is not None]
