"""The other outputs of a stage on the same inputs, and how the nearest of them differs from a plan."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.digests import Json
from infra.errors import DdpmError
from infra.outputs.plan import Plan
from infra.storage.store import Store

_MOST_PLANS = 48
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


def most_similar(plan: Plan, store: Store, clock: Callable[[], float] = time.monotonic) -> Similar | None:
    """Return the output with the fewest settings unlike a plan's, at most three, of the same stage and inputs.

    It reads 48 plans at most and stops after two seconds, so on a large root it may miss one. A plan that cannot be
    read is left out.

    Args:
        plan: The plan of another output.
        store: The store of all outputs.
        clock: Returns seconds, for the bound.
    """
    found = [one for one in _others(plan, store, clock, {}) if 0 < len(one.settings) <= _MOST_DIFFERENCES]
    return min((one for one in found if not one.inputs), key=lambda one: len(one.settings), default=None)


def nearest(
    plan: Plan, store: Store, usual: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
) -> Similar | None:
    """Return the output of the same stage that differs least from a plan, in its inputs too; bounded as `most_similar`.

    Args:
        plan: The plan of another output.
        store: The store of all outputs.
        usual: The defaults of the settings, because a plan does not name a setting with its default.
        clock: Returns seconds, for the bound.
    """
    found = [one for one in _others(plan, store, clock, usual) if one.settings or one.inputs or one.is_older]
    return min(found, key=lambda one: (len(one.inputs), len(one.settings)), default=None)


def _others(plan: Plan, store: Store, clock: Callable[[], float], usual: Mapping[str, Any]) -> list[Similar]:
    until = clock() + _MOST_SECONDS
    found: list[Similar] = []
    try:
        for folder in store.folders(plan.stage)[:_MOST_PLANS]:
            if clock() > until:
                break
            other = _read(f"{folder}/plan.json", store)
            settings, inputs = other.get("settings"), other.get("inputs")
            if isinstance(settings, dict) and isinstance(inputs, dict):
                found.append(
                    Similar(
                        folder=folder,
                        settings=_unlike(settings, plan.settings, usual),
                        inputs={
                            name: (str(inputs.get(name, "")), plan.inputs.get(name, ""))
                            for name in sorted(inputs.keys() | plan.inputs.keys())
                            if inputs.get(name) != plan.inputs.get(name)
                        },
                        is_older=other.get("format_version") != plan.format_version,
                    )
                )
    except (DdpmError, OSError):
        pass  # because a remark must not fail a run
    return found


def _read(name: str, store: Store) -> dict[str, Any]:
    try:
        value = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
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
