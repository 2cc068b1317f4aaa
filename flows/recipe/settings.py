"""The merging of a preset, a file and `a.b=value` settings."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import PRESETS, preset
from infra.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
_PATH_LENGTH = 2
_LONGEST_VALUE = 100
# Settings of earlier releases that have another name now.
_NEW_NAMES = {"prepare.holdout_fraction": "prepare.holdout"}


def load_config(name: str, file: Path | None, settings: Sequence[str], *, together: bool = True) -> PipelineConfig:
    """Build a config from a preset, then a TOML or JSON file, then `a.b=value` settings; later ones win.

    Args:
        name: The preset's name.
        file: A TOML or JSON file of settings, if any.
        settings: Settings, each as `a.b=value`.
        together: Also check the rules between stages, which the first stage alone does not need.

    Raises:
        ConfigError: If any of them is wrong; the message names the setting and its allowed values.
    """
    if name not in PRESETS:
        raise ConfigError(f"no such preset: {name}", remedy=_suggest(name, list(PRESETS)))
    values = preset(name).model_dump()
    for path, value in _named(file, settings):
        put(values, path, value)
    return built(values, together=together)


def own_settings(file: Path | None, settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings that a file and a command line name, a group per stage; later ones win.

    Args:
        file: A TOML or JSON file of settings, if any.
        settings: Settings, each as `a.b=value`; all of them exist, as `load_config` took them.
    """
    groups: dict[str, dict[str, Any]] = {}
    for path, value in _named(file, settings):
        stage, _, name = path.partition(".")
        groups.setdefault(stage, {})[name] = value
    return groups


def built(values: dict[str, Any], *, together: bool = True) -> PipelineConfig:
    """Build a config from the values of every setting.

    Args:
        values: The settings of each stage.
        together: Also check the rules between stages.

    Raises:
        ConfigError: If a value is wrong, or contradicts another.
    """
    if together:
        return validated(PipelineConfig, values)
    parts: dict[str, Any] = {stage: _validated_stage(stage, values[stage]) for stage in values}
    return PipelineConfig.model_construct(**parts)


def _named(file: Path | None, settings: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each setting of a file, then of a command line."""
    if file is not None:
        for stage, part in _read_file(file).items():
            if not isinstance(part, dict):
                raise ConfigError("must be a table of settings", item=f"{file}: {stage}")
            yield from ((f"{stage}.{name}", value) for name, value in part.items())
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"not of the form stage.setting=value: {setting}", item="--set")
        yield path.strip(), parse_value(text)


def _validated_stage(stage: str, values: dict[str, Any]) -> BaseModel:
    kind = type(getattr(PipelineConfig(), stage))
    try:
        return validated(kind, values)
    except ConfigError as error:
        error.item = f"{stage}.{error.item}" if error.item else error.item
        raise


def validated(kind: type[M], values: dict[str, Any]) -> M:
    """Build a config from plain values.

    Raises:
        ConfigError: If a value is wrong or contradicts another.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _as_config_error(error) from error


def put(values: dict[str, Any], path: str, value: object) -> None:
    """Set the value of `stage.setting`.

    Raises:
        ConfigError: If there is no such setting.
    """
    stage, _, name = path.partition(".")
    if stage not in values:
        raise ConfigError("no such stage", item=shortened(path), remedy=_suggest(stage, list(values)))
    if path in _NEW_NAMES:
        raise ConfigError("has another name now", item=path, remedy=f"it is called {_NEW_NAMES[path]}")
    if name not in values[stage]:
        raise ConfigError("no such setting", item=shortened(path), remedy=_suggest(name, list(values[stage])))
    values[stage][name] = value


def parse_value(text: str) -> object:
    """Return the value of a setting that is written as JSON; any other text is the value itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _read_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        match file.suffix:
            case ".toml":
                values = tomllib.loads(text)
            case ".json":
                values = json.loads(text)
            case _:
                raise ConfigError("must end in .toml or .json", item=str(file))
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", item=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot be parsed ({error})", item=str(file)) from error
    if not isinstance(values, dict):
        raise ConfigError("must hold tables of settings", item=str(file))
    return values


def _suggest(word: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"


def _as_config_error(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    # pydantic's path goes on with the union member that it tried. Keep only stage, setting and list index.
    path = [part for number, part in enumerate(first["loc"]) if number < _PATH_LENGTH or isinstance(part, int)]
    message, remedy = first["msg"].removeprefix("Value error, "), ""
    match first["type"]:
        case "enum":
            path = path[:_PATH_LENGTH]
            remedy = _suggest(str(first["input"]), re.findall("'([^']*)'", first["ctx"]["expected"]))
        case "list_type":
            remedy = f"write it as a list, such as {shortened(json.dumps([first['input']]))}"
        case "too_short":
            message = f"must have at least {first['ctx']['min_length']}"
    item = ".".join(map(str, path))
    value = "" if isinstance(first["input"], dict) or not item else f"; got {shortened(repr(first['input']))}"
    return ConfigError(message[:1].lower() + message[1:] + value, item=item, remedy=remedy)


def shortened(text: str) -> str:
    """Return a text, or its beginning if it is too long for a line."""
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def without_effect(config: PipelineConfig, file: Path | None, settings: Sequence[str]) -> list[str]:
    """Return those settings of a file and a command line that nothing which is chosen uses.

    Args:
        config: What `load_config` made of them.
        file: Of settings, or None.
        settings: Each as `a.b=value`.
    """
    paths = [setting.partition("=")[0].strip() for setting in settings]
    if file is not None:
        paths = [f"{stage}.{name}" for stage, part in _read_file(file).items() for name in part] + paths
    places = (path.partition(".") for path in dict.fromkeys(paths))
    return [f"{stage}.{name}" for stage, _, name in places if name in getattr(config, stage).unused()]
