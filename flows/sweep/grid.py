"""The grid of a sweep: settings with several values each, and the combinations that they form."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.recipe.config import PipelineConfig
from flows.recipe.settings import parse_value
from infra.errors import ConfigError

OPTION = "--grid"
_OPENING, _CLOSING = "[{", "]}"
# The values of some settings, by their full names.
Combination = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting with the values that a sweep gives it.

    Attributes:
        path: The setting's full name, such as `train.learning_rate`.
        values: Its values in the user's order, all different.
    """

    path: str
    values: tuple[Any, ...]


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Read the axes of a grid, each as `stage.setting=value,value`; each value is read as `--set` reads it.

    A comma inside brackets or double quotes belongs to the value, as in `train.channel_mults=[1,2],[1,2,2]`.

    Raises:
        ConfigError: If an axis has no values, an empty value, a value twice, or the setting of another axis.
    """
    if not texts:
        raise ConfigError("is empty", item=OPTION, remedy="give a setting and its values, as in train.seed=0,1")
    axes: list[Axis] = []
    for text in texts:
        path, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not path:
            raise ConfigError(f"not of the form stage.setting=value,value: {text}", item=OPTION)
        if path in (axis.path for axis in axes):
            raise ConfigError("is given twice", item=f"{OPTION} {path}", remedy="list all its values after one =")
        axes.append(Axis(path=path, values=_values(path, values)))
    return tuple(axes)


def combinations(axes: Sequence[Axis]) -> list[Combination]:
    """Return the product of the axes; the values of the last axis change fastest."""
    paths = [axis.path for axis in axes]
    return [dict(zip(paths, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def check_axes(axes: Sequence[Axis], base: PipelineConfig) -> None:
    """Refuse a setting that no result depends on, since all its values would give the same run.

    Raises:
        ConfigError: If an axis is an execution setting.
    """
    for axis in axes:
        stage, _, name = axis.path.partition(".")
        part = getattr(base, stage, None)
        if part is not None and name in type(part).model_fields and part.role(name) == "execution":
            raise ConfigError(
                "is an execution setting: no result depends on it",
                item=f"{OPTION} {axis.path}",
                remedy="set it once for all runs",
            )


def value_text(value: object) -> str:
    """Return a value as people write it: texts as they are, and the rest as JSON without spaces."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_text, value))}]"
    return str(value)


def combination_text(combination: Combination) -> str:
    """Return a combination in words, such as `train.learning_rate=0.0001, sample.num_steps=50`."""
    return ", ".join(f"{path}={value_text(value)}" for path, value in combination.items())


def _values(path: str, text: str) -> tuple[Any, ...]:
    values: list[Any] = []
    for part in _parts(text):
        if not part.strip():
            raise ConfigError(f"has an empty value: {text}", item=f"{OPTION} {path}")
        value = parse_value(part.strip())
        # 1 and true are equal in Python and two values of a setting.
        if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values):
            raise ConfigError(f"has a value twice: {value_text(value)}", item=f"{OPTION} {path}")
        values.append(value)
    return tuple(values)


def _parts(text: str) -> Iterator[str]:
    """Split a text at the commas that are outside of brackets and quotes."""
    depth, quoted, start = 0, False, 0
    for place, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted:
            depth += (char in _OPENING) - (char in _CLOSING)
            if char == "," and depth == 0:
                yield text[start:place]
                start = place + 1
    yield text[start:]
