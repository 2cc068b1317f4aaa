"""Settings that another program wrote, read strictly: settings that we cannot represent are refused by name."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from infra.errors import ConfigError

Settings = dict[str, Any]

VERSION = "0.35.0"  # of diffusers, as which we write; later ones read it alike
_MOST = 1 << 20
_LARGEST = 1 << 53  # a whole number up to here is a float
_SHOWN = 80


class ForeignSettings:
    """The settings of one object, with its program's defaults for those that are not given.

    Args:
        given: The settings in the file; names that begin with `_` are the program's own notes.
        defaults: Every known setting with its default.
        kind: The class that the file must name, if it names one.
        item: The file.

    Raises:
        ConfigError: If the class is another one, or a setting is unknown.
    """

    def __init__(self, given: Settings, defaults: Settings, kind: str, item: str) -> None:
        self._item = item
        self._values = {"_class_name": kind, **given}
        if self["_class_name"] != kind:
            self.refuse("_class_name", kind)
        for name in given:
            if name not in defaults and not name.startswith("_"):
                raise ConfigError(
                    f"{name} is not a setting of {kind} that we know; it is {_show(given[name])}", item=item
                )
        self._values = {**defaults, **self._values}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        return self._values[name]

    def refuse(self, name: str, ours: str) -> NoReturn:
        """Refuse a setting that we cannot represent, and name those that we can."""
        raise ConfigError(f"{name} is {_show(self[name])}; we can represent {ours}", item=self._item)

    def check_cases(self, cases: Mapping[str, object]) -> None:
        """Refuse settings that differ from the one case that we have."""
        for name, case in cases.items():
            if self[name] != case:
                self.refuse(name, f"{_show(case)} only")

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """Return a setting that is one of some words."""
        value = self[name]
        if value not in choices:
            self.refuse(name, " or ".join(choices))
        return str(value)

    def whole(self, name: str, most: int = _MOST) -> int:
        """Return a setting that is a whole number from 1."""
        value = self[name]
        if type(value) is not int or not 1 <= value <= most:
            self.refuse(name, f"whole numbers from 1 to {most}")
        return int(value)

    def number(self, name: str) -> float:
        """Return a setting that is a finite number."""
        if not is_number(self[name]):
            self.refuse(name, "finite numbers")
        return float(self[name])

    def numbers(self, name: str) -> list[float]:
        """Return a setting that is a list of finite numbers."""
        values = self[name]
        if not isinstance(values, list) or not all(map(is_number, values)):
            self.refuse(name, "a list of finite numbers")
        return [float(value) for value in values]


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a finite number; true and false are not numbers."""
    return (type(value) is int and abs(value) <= _LARGEST) or (type(value) is float and math.isfinite(value))


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
