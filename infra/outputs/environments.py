"""The software and hardware that computed an output: the first in one file, later ones in a chain beside it.

    <folder>/environment.json           the environment that began the output
            /environments/000001.json   the next one that went on with it, and the work that was done by then

An environment is recorded once, however often work goes on in it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.digests import Json, canonical_json
from infra.outputs.manifest import Manifest
from infra.storage.store import Store

FACT = "environments"
_FIRST = "environment.json"
_LATER = "environments"
_UNKNOWN = "unknown"
_DIGITS = 6
_NUMBERED = re.compile(rf"/\d{{{_DIGITS}}}\.json$")


@dataclass(frozen=True, kw_only=True)
class Period:
    """The work on an output from the first use of an environment on.

    Attributes:
        environment: Versions and device by name; empty if its file is damaged.
        after: The amount of work that was done before, such as {"images": 48}; empty for the first environment.
    """

    environment: Mapping[str, str]
    after: Mapping[str, int]

    def as_json(self) -> Json:
        """Return the period as stored."""
        return {"environment": dict(self.environment), "after": dict(self.after)}


@dataclass(frozen=True, kw_only=True)
class Environments:
    """The environments of one output in a store."""

    store: Store
    folder: str

    def enter(self, environment: Mapping[str, str], done: Callable[[], Mapping[str, int]]) -> str:
        """Record that an environment works on the output, unless it is recorded already.

        Args:
            environment: Versions and device by name; entries of earlier records that it does not name are ignored.
            done: Returns the amount of work done so far; called only if another environment did it.

        Returns:
            The difference from the latest environment before, in words; empty if this one is the first or known.
        """
        if self.store.put_if_absent(f"{self.folder}/{_FIRST}", canonical_json(dict(environment))):
            return ""
        while True:
            names = self._later()  # first, so that a record that comes meanwhile takes the next name from this run
            periods = self.periods()
            if any(not differences(period.environment, environment) for period in periods):
                return ""
            period = Period(environment=environment, after=done())
            # Another run may put the same number first; its environment then counts as the latest.
            if self.store.put_if_absent(self._next(names), canonical_json(period.as_json())):
                return differences(periods[-1].environment, environment)

    def others(self, environment: Mapping[str, str]) -> str:
        """Return the difference from the first recorded environment that differs, in words; empty if none does."""
        if not self.store.exists(f"{self.folder}/{_FIRST}"):
            return ""
        found = (differences(period.environment, environment) for period in self.periods())
        return next((words for words in found if words), "")

    def periods(self) -> list[Period]:
        """Return all periods in the order in which their environments came."""
        later = [self._read(name) for name in self._later()]
        return [
            Period(environment=_texts(self._read(f"{self.folder}/{_FIRST}")), after={}),
            *(Period(environment=_texts(one.get("environment")), after=_amounts(one.get("after"))) for one in later),
        ]

    def _later(self) -> list[str]:
        return [name for name in self.store.list(f"{self.folder}/{_LATER}") if _NUMBERED.search(name)]

    def _next(self, names: Sequence[str]) -> str:
        number = int(names[-1][-_DIGITS - len(".json") : -len(".json")]) + 1 if names else 1
        return f"{self.folder}/{_LATER}/{number:0{_DIGITS}d}.json"

    def _read(self, name: str) -> dict[str, Any]:
        """Return a stored object; an empty one if it is damaged, because no bytes of the output depend on it."""
        try:
            value = json.loads(self.store.read(name))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Return the entries of this environment that differ from an earlier one, in words; empty if none does."""
    names = sorted(name for name in here if there.get(name) != here[name])
    return "; ".join(f"{name}: {there.get(name, _UNKNOWN)} there, {here[name]} here" for name in names)


def involved(periods: Sequence[Period], goal: Mapping[str, int]) -> list[Period]:
    """Return the periods that can have worked on a goal: all but those that began when its amount was done already."""
    return [period for period in periods if all(goal.get(unit, done + 1) > done for unit, done in period.after.items())]


def periods_of(manifest: Manifest) -> list[Period]:
    """Return the periods of a sealed output, the first one first; one, if a single environment computed it."""
    sealed = manifest.facts.get(FACT) or [{"environment": manifest.environment, "after": {}}]
    return [Period(environment=period["environment"], after=period["after"]) for period in sealed]


def environment_in_words(manifest: Manifest) -> dict[str, str]:
    """Return the environment of a sealed output by name; values that changed follow each other, joined by "then"."""
    values: dict[str, list[str]] = {}
    for period in periods_of(manifest):
        for name, value in period.environment.items():
            known = values.setdefault(name, [])
            if value not in known:
                known.append(value)
    return {name: " then ".join(known) for name, known in values.items()}


def _texts(value: object) -> dict[str, str]:
    is_valid = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return dict(value) if is_valid and isinstance(value, dict) else {}


def _amounts(value: object) -> dict[str, int]:
    is_valid = isinstance(value, dict) and all(isinstance(amount, int) for amount in value.values())
    return dict(value) if is_valid and isinstance(value, dict) else {}
