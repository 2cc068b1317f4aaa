"""The other outputs of a stage on the same inputs, and how the nearest of them differs from a plan."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from infra.digests import Json
from infra.errors import DdpmError
from infra.outputs.plan import Plan
from infra.outputs.reading import read_within
from infra.storage.store import Store

_MOST_PLANS = 1024
_MOST_SECONDS = 2.0
_MOST_DIFFERENCES = 3
_SHORT = 60
_DEFAULT = "the default"


@dataclass(frozen=True, kw_only=True)
class Similar:
    """An output that differs from a plan in a few settings or inputs.

    Attributes:
        folder: Its folder in the store.
        settings: The values of the settings that differ, there and here, by name.
        inputs: The digests of the inputs that differ, there and here, by name; empty for an input that is not there.
        is_older: Whether it has another format version.
    """

    folder: str
    settings: Mapping[str, tuple[str, str]]
    inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    is_older: bool = False

    @property
    def words(self) -> str:
        """The differences of the settings in one line."""
        return ", ".join(f"{name} {there} there, {here} here" for name, (there, here) in self.settings.items())


class Nearest(NamedTuple):
    """The output of a stage that differs least from a plan, among those that were read.

    Attributes:
        output: The output; None if none that was read differs.
        read: The number of folders that were read.
        there: The number of folders of the stage; None if the store failed.
    """

    output: Similar | None
    read: int
    there: int | None


def most_similar(plan: Plan, store: Store, clock: Callable[[], float] = time.monotonic) -> Similar | None:
    """Return the output with the fewest settings unlike a plan's, at most three, of the same stage and inputs.

    It reads plans for two seconds and 1,024 at most, the newest first if the store tells, so on a large root it may
    miss one. A plan that cannot be read is left out.

    Args:
        plan: The plan of another output.
        store: The store of all outputs.
        clock: Returns seconds, for the bound; from any thread.
    """
    others, _, _ = _others(plan, store, clock, {})
    found = [one for one in others if 0 < len(one.settings) <= _MOST_DIFFERENCES]
    return min((one for one in found if not one.inputs), key=lambda one: len(one.settings), default=None)


def nearest(plan: Plan, store: Store, usual: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> Nearest:
    """Return the output of the same stage that differs least from a plan, in its inputs too; bounded as `most_similar`.

    Args:
        plan: The plan of another output.
        store: The store of all outputs.
        usual: The defaults of the settings, because a plan does not name a setting with its default.
        clock: Returns seconds, for the bound; from any thread.
    """
    others, read, there = _others(plan, store, clock, usual)
    found = [one for one in others if one.settings or one.inputs or one.is_older]
    return Nearest(min(found, key=lambda one: (len(one.inputs), len(one.settings)), default=None), read, there)


def _others(
    plan: Plan, store: Store, clock: Callable[[], float], usual: Mapping[str, Any]
) -> tuple[list[Similar], int, int | None]:
    """Return the outputs that were read, and of how many folders how many were read."""
    try:
        folders = store.newest_folders(plan.stage)
    except (DdpmError, OSError):  # because a remark must not fail a run
        return [], 0, None
    # The time counts from here, because a listing cannot be cut short and says nothing alone.
    read = read_within(store, [f"{folder}/plan.json" for folder in folders[:_MOST_PLANS]], _MOST_SECONDS, clock)
    found = [_compared(name.removesuffix("/plan.json"), _parsed(data), plan, usual) for name, data in read.items()]
    return sorted((one for one in found if one), key=lambda one: one.folder), len(read), len(folders)


def _compared(folder: str, other: dict[str, Any], plan: Plan, usual: Mapping[str, Any]) -> Similar | None:
    """Return how a stored plan differs from another one; None if it is damaged."""
    settings, inputs = other.get("settings"), other.get("inputs")
    if not isinstance(settings, dict) or not isinstance(inputs, dict):
        return None
    return Similar(
        folder=folder,
        settings=_unlike(settings, plan.settings, usual),
        inputs={
            name: (str(inputs.get(name, "")), plan.inputs.get(name, ""))
            for name in sorted(inputs.keys() | plan.inputs.keys())
            if inputs.get(name) != plan.inputs.get(name)
        },
        is_older=other.get("format_version") != plan.format_version,
    )


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _unlike(there: Json, here: Json, usual: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return {name: (_text(there, name, usual), _text(here, name, usual)) for name in names}


def _text(settings: Json, name: str, usual: Mapping[str, Any]) -> str:
    """Return a setting's value; a setting that a plan does not name has its default."""
    if name not in settings and name not in usual:
        return _DEFAULT
    text = json.dumps(settings.get(name, usual.get(name))).strip('"')
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
