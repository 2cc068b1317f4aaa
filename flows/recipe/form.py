"""The parameters of the Prefect flow: a recipe, and a run's changes to it; an empty field keeps the recipe's value.

A recipe is a preset and, for a recipe of the user, the settings by which it differs from the preset.

The form leads with the settings that people change most. The group of each stage repeats all its settings under their
command-line names, so that the same choice has the same key however it is made.
"""

from collections.abc import Mapping
from typing import Any

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.settings import built, put, shortened, validated
from flows.recipe.sweep_settings import SweepSettings
from flows.runtime.settings import RunSettings
from infra.errors import ConfigError

# Parameters at the top of the form, and the setting that each stands for.
LEAD = {
    "source": "prepare.source",
    "image_size": "prepare.image_size",
    "images": "train.images",
    "batch_size": "train.batch_size",
    "learning_rate": "train.learning_rate",
    "base_channels": "train.base_channels",
    "class_conditional": "train.class_conditional",
    "workers": "train.workers",
    "samples": "sample.count",
    "sampler": "sample.sampler",
    "sampling_steps": "sample.num_steps",
    "bound_images": "evaluate.bpd_images",
}
# The run's own settings at the top of the form; its other settings form a group.
RUN_LEAD = ("name", "root", "until")
SWEEP = "sweep"
STAGES = tuple(PipelineConfig.model_fields)
# What empty fields take their values from: a preset, and the settings by which a recipe of the user differs from it.
BASE = ("preset", "recipe")


def changed(
    parameters: Mapping[str, Any], deployment: Mapping[str, Any] | None = None
) -> tuple[PipelineConfig, RunSettings]:
    """Merge a run's parameters over its deployment's, and both over the recipe.

    Prefect merges group by group: a run's group replaces the deployment's, even if it names a single setting. Here a
    setting that the run does not name keeps its value.

    Args:
        parameters: The run's parameters as Prefect passes them, already merged over the deployment's group by group.
        deployment: The deployment's own parameters.

    Raises:
        ConfigError: If a setting is unknown, out of range, contradicts another or is given two values.
    """
    below = _filled(deployment or {})
    own = {name: value for name, value in _filled(parameters).items() if below.get(name) != value}
    name = str(own.get("preset") or below.get("preset") or "digits")
    if name not in PRESETS:
        raise ConfigError(
            f"no such recipe: {shortened(name)}", item="preset", remedy=f"choose one of {', '.join(PRESETS)}"
        )
    values = preset(name).model_dump()
    run: dict[str, Any] = {"preset": name}
    for layer in (deployment or {}, parameters):
        _put_recipe(values, layer.get("recipe"))
    for layer in (below, own):
        _put_layer(values, run, layer)
    if values["prepare"]["kind"] == "digits" and not any(map(_names_a_source, (below, own))):
        # An empty field cannot clear the recipe's sources.
        values["prepare"] |= {"source": "", "test_source": ""}
    try:
        settings = validated(RunSettings, run)
        if settings.until and settings.until not in STAGES[:-1]:
            raise ConfigError(
                f"no such stage: {settings.until}", item="until", remedy=f"choose one of {', '.join(STAGES[:-1])}"
            )
        # The first stage needs none of the others' settings, so a set of images can be prepared for any network.
        return built(values, together=settings.until != STAGES[0]), settings
    except ConfigError as error:
        error.remedy = error.remedy or "an empty field takes the recipe's value"
        raise


def sweep_of(parameters: Mapping[str, Any], deployment: Mapping[str, Any] | None = None) -> SweepSettings | None:
    """Return the sweep that a run's parameters ask for, merged over its deployment's; None without a grid.

    Args:
        parameters: The run's parameters, as for `changed`.
        deployment: The deployment's own parameters.

    Raises:
        ConfigError: If a setting of the sweep is unknown or out of range.
    """
    groups = [_filled(layer or {}).get(SWEEP, {}) for layer in (deployment, parameters)]
    if not all(isinstance(group, Mapping) for group in groups):
        raise ConfigError("must be a group of settings", item=SWEEP)
    merged = {name: value for group in groups for name, value in group.items()}
    settings = validated(SweepSettings, merged)
    return settings if settings.grid else None


def _put_recipe(values: dict[str, Any], recipe: object) -> None:
    """Put the settings by which a recipe differs from its preset; an empty value there is a value."""
    if recipe is None:
        return
    if not isinstance(recipe, Mapping) or not all(isinstance(group, Mapping) for group in recipe.values()):
        raise ConfigError("must be groups of settings, one per stage", item="recipe")
    for stage, group in recipe.items():
        for setting, value in group.items():
            put(values, f"{stage}.{setting}", value)


def _put_layer(values: dict[str, Any], run: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if name in LEAD:
            _check_twice(layer, name, LEAD[name])
            put(values, LEAD[name], value)
        elif name in (*STAGES, "run"):
            _put_group(values, run, name, value)
        elif name in RUN_LEAD:
            run[name] = value
        elif name not in (*BASE, SWEEP):
            raise ConfigError("no such parameter", item=shortened(name))


def _names_a_source(layer: Mapping[str, Any]) -> bool:
    return "source" in layer or bool({"source", "test_source"} & layer.get("prepare", {}).keys())


def _put_group(values: dict[str, Any], run: dict[str, Any], name: str, group: object) -> None:
    if not isinstance(group, Mapping):
        raise ConfigError("must be a group of settings", item=name)
    if name == "run":
        if twice := group.keys() & {"preset", *RUN_LEAD}:
            raise ConfigError("no such setting", item=f"run.{min(twice)}", remedy="it is a parameter of its own")
        run.update(group)
        return
    for setting, value in group.items():
        put(values, f"{name}.{setting}", value)


def _check_twice(layer: Mapping[str, Any], name: str, path: str) -> None:
    stage, _, setting = path.partition(".")
    group = layer.get(stage)
    if isinstance(group, Mapping) and setting in group and group[setting] != layer[name]:
        raise ConfigError(
            f"{layer[name]!r}, and {group[setting]!r} as {path}", item=name, remedy="leave one of the two empty"
        )


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that hold a value; None, an empty text or group, and an empty list as source are none."""
    filled = {}
    for name, value in fields.items():
        inner = _filled(value) if isinstance(value, Mapping) else value
        if inner is not None and inner not in ("", {}) and not (name == "source" and not inner):
            filled[name] = inner
    return filled
