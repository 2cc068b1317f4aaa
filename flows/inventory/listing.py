"""The runs below a root side by side: what differs between them, and their figures."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from flows.artifacts import Figure
from flows.inventory.inventory import StoredRun
from flows.inventory.reading import READERS, Reader
from infra.errors import IntegrityError
from infra.outputs.manifest import parse_manifest

_NO_VALUE = object()


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run in a list.

    Attributes:
        run: The run.
        figures: Its figures, most important first.
        settings: Its settings by their full names; empty if it is not finished, or a manifest of it cannot be read.
        damage: A line about what cannot be read; empty if all is whole.
    """

    run: StoredRun
    figures: Sequence[Figure] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""

    @property
    def state(self) -> str:
        """Its state in words."""
        if self.damage:
            return "damaged"
        if self.run.record is None:
            return "at work" if self.run.holder else "unfinished"
        return "finished, at work again" if self.run.holder else "finished"


@dataclass(frozen=True, kw_only=True)
class RunList:
    """Runs, and the settings in which they differ.

    Attributes:
        runs: The runs in order.
        differing: The names of the settings that are not equal in all of them.
        usual: The values that more than half of them have, by the names of those settings.
        left_out: What was not read, in words; empty if everything was.
    """

    runs: Sequence[ListedRun]
    differing: Sequence[str]
    usual: Mapping[str, Any]
    left_out: str = ""

    def differences(self, listed: ListedRun) -> dict[str, Any]:
        """Return the values of a run that differ from another's, but for those that most have."""
        return {
            name: listed.settings[name]
            for name in self.differing
            if name in listed.settings and listed.settings[name] != self.usual.get(name, _NO_VALUE)
        }


def list_runs(reader: Reader, runs: Sequence[StoredRun]) -> RunList:
    """Return runs with their settings and figures, in the given order.

    Args:
        reader: Reads below the root; its time bounds the reading.
        runs: The runs to list.
    """
    manifests = sorted({name for run in runs for name in run.artifacts.values()})
    with ThreadPoolExecutor(READERS) as pool:
        settings = dict(zip(manifests, pool.map(lambda name: _settings(reader, name), manifests), strict=True))
    listed = [_listed(run, settings) for run in runs]
    missed = sum(found is None for found in settings.values())
    words = [reader.left_out, f"the settings of {missed:,} outputs were not read" if missed else ""]
    whole = [one.settings for one in listed if one.settings]
    names = list(dict.fromkeys(name for settings in whole for name in settings))
    differing = [name for name in names if len({_text(one.get(name, "")) for one in whole}) > 1]
    return RunList(
        runs=listed,
        differing=differing,
        usual={name: value for name in differing if (value := _usual(name, whole)) is not _NO_VALUE},
        left_out="; ".join(word for word in words if word),
    )


def _settings(reader: Reader, manifest: str) -> dict[str, Any] | str | None:
    """Return the settings that a manifest records, a line about its damage, or None if the time is over."""
    if reader.is_over:
        return None
    try:
        found = parse_manifest(reader.store.read(manifest), item=manifest)
        return {f"{found.stage}.{name}": value for name, value in (found.facts["settings"] | found.goal).items()}
    except FileNotFoundError:
        return f"{manifest}: is missing"
    except (IntegrityError, KeyError, TypeError) as error:
        return str(error) if isinstance(error, IntegrityError) else f"{manifest}: records no settings"


def _listed(run: StoredRun, by_manifest: Mapping[str, dict[str, Any] | str | None]) -> ListedRun:
    found = [by_manifest[name] for name in run.artifacts.values()]
    damage = next((one for one in found if isinstance(one, str)), run.damage)
    settings = dict(run.settings) | {k: v for one in found if isinstance(one, dict) for k, v in one.items()}
    is_whole = not damage and all(one is not None for one in found)
    return ListedRun(
        run=run,
        figures=run.record.finished.figures.figures if run.record else (),
        settings=settings if is_whole else {},
        damage=damage,
    )


def _usual(name: str, whole: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401 - the value of a setting
    values = [one[name] for one in whole if name in one]
    ((most, count),) = Counter(map(_text, values)).most_common(1)
    return next(value for value in values if _text(value) == most) if 2 * count > len(whole) else _NO_VALUE


def _text(value: Any) -> str:  # noqa: ANN401 - the value of a setting
    return json.dumps(value, sort_keys=True)
