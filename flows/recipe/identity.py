"""The identity of runs: a run is one trial, recipe and data; its name states both and ends with its key."""

import re
from typing import Any

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import PRESETS, preset
from infra.digests import canonical_json, sha256
from infra.storage.uri import parse_place

_KEY_DIGITS = 20
_SHOWN_DIGITS = 8
_LONGEST_NAME = 80
# The data's key says it, so a kind that is named and the same kind found are one run.
_OF_DATA = "prepare.kind"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._=,+-]+")


def recipe_key(config: PipelineConfig) -> str:
    """Return the key that two recipes share if all their settings except the execution settings are equal."""
    return _digest(_recipe(config))


def run_key(config: PipelineConfig, data_key: str) -> str:
    """Return the key that two runs share if recipe and data are equal; the source's listing gives the data's key."""
    recipe = _recipe(config)
    stage, setting = _OF_DATA.split(".")
    recipe[stage][0].pop(setting, None)
    return _digest([recipe, data_key])


def run_name(config: PipelineConfig, recipe: str, key: str, given: str = "") -> str:
    """Return the run's name in reports, MLflow and Prefect, such as `digits-train.learning_rate=0.008-1a2b3c4d`.

    Args:
        config: All settings.
        recipe: The preset that they started from.
        key: The run's key.
        given: The user's name for it, which replaces recipe and differences; empty for none.
    """
    end = f"-{key[:_SHOWN_DIGITS]}"
    return f"{given or recipe_name(config, recipe, _LONGEST_NAME - len(end))}{end}"


def recipe_name(config: PipelineConfig, recipe: str, longest: int = _LONGEST_NAME) -> str:
    """Return a recipe's name from its preset and what differs from it, such as `digits-train.learning_rate=0.008`.

    Args:
        config: All settings.
        recipe: The preset that they started from.
        longest: Characters at most; a name that would be longer ends with the number of differences left out.
    """
    name = recipe
    differences = _differences(config, recipe)
    for number, difference in enumerate(differences):
        longer = f"{name}{'-' if number == 0 else ','}{difference}"
        rest = f",+{len(differences) - number}"
        if len(longer) + len(rest) > longest:
            return name + rest
        name = longer
    return name


def settings_of(config: PipelineConfig) -> dict[str, Any]:
    """Return every result setting and goal by its full name, such as `train.learning_rate`."""
    return {
        f"{stage}.{name}": value
        for stage in type(config).model_fields
        for name, value in (getattr(config, stage).result_settings() | getattr(config, stage).goals()).items()
    }


def _differences(config: PipelineConfig, recipe: str) -> list[str]:
    """List the run's changes to its recipe, first the source by the last part of its path, then stage by stage."""
    if recipe not in PRESETS:
        return []
    standard = preset(recipe)
    usual, settings = settings_of(standard), settings_of(config)
    unused = {f"{stage}.{name}" for stage in type(config).model_fields for name in getattr(config, stage).unused()}
    unused.add(_OF_DATA)
    changed = [
        f"{name}={_text(value)}" for name, value in settings.items() if value != usual[name] and name not in unused
    ]
    if config.train.initial:
        changed.insert(0, f"initial={_text(_last_part(config.train.initial))}")
    if config.prepare.source and config.prepare.source != standard.prepare.source:
        changed.insert(0, _text(_last_part(parse_place(config.prepare.sources[0]).path)))
    return [part for part in changed if part]


def _last_part(path: str) -> str:
    return path.rstrip("/").split("/")[-1].removesuffix(".safetensors")


def _text(value: object) -> str:
    text = (
        "+".join(map(str, value))
        if isinstance(value, list)
        else str(value).lower()
        if value is True or value is False
        else str(value)
    )
    return _NOT_IN_NAMES.sub("_", text)


def _recipe(config: PipelineConfig) -> dict[str, Any]:
    stages = {name: getattr(config, name) for name in type(config).model_fields}
    return {name: [stage.key_settings(), stage.goals()] for name, stage in stages.items()}


def _digest(value: dict[str, Any] | list[Any]) -> str:
    return sha256(canonical_json(value))[:_KEY_DIGITS]
