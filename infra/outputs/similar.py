"""The other outputs of a stage on the same inputs, and how the nearest of them differs from a plan."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    """An output that differs from a plan in a few settings.

    Attributes:
        folder: Its folder in the store.
        settings: The values of the settings that differ, there and here, by name.
    """

    folder: str
    settings: Mapping[str, tuple[Any, Any]]

    @property
    def words(self) -> str:
        """The differences in one line."""
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
    until = clock() + _MOST_SECONDS
    found: list[Similar] = []
    try:
        for folder in store.folders(plan.stage)[:_MOST_PLANS]:
            if clock() > until:
                break
            other = _read(f"{folder}/plan.json", store)
            if other.get("inputs") == plan.inputs and isinstance(other.get("settings"), dict):
                unlike = _unlike(other["settings"], plan.settings)
                if 0 < len(unlike) <= _MOST_DIFFERENCES:
                    found.append(Similar(folder=folder, settings=unlike))
    except (DdpmError, OSError):
        pass  # because a remark must not fail a run
    return min(found, key=lambda similar: len(similar.settings), default=None)


def _read(name: str, store: Store) -> dict[str, Any]:
    try:
        value = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _unlike(there: Json, here: Json) -> dict[str, tuple[str, str]]:
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return {name: (_text(there, name), _text(here, name)) for name in names}


def _text(settings: Json, name: str) -> str:
    """Return a setting's value; a setting that a plan does not name has its default."""
    if name not in settings:
        return _DEFAULT
    text = json.dumps(settings[name]).strip('"')
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
