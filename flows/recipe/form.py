"""The parameters of the Prefect flow: a recipe and what a run changes of it; an empty field means the recipe's value.

The form leads with the settings that people change. Every setting is there again in the group of its stage, under the
name that the command line gives it, so that the same choice has the same key whichever way it is made.
"""

from collections.abc import Mapping
from typing import Any

from flows.recipe.config import PipelineConfig
from flows.recipe.presets import PRESETS, preset, put, validated
from flows.runtime.settings import RunSettings
from infra.errors import ConfigError

# Parameters at the top of the form, each with the setting that it stands for.
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
# Of the run itself, at the top too; its other settings are a group.
RUN_LEAD = ("name", "root")
STAGES = ("prepare", "train", "sample", "evaluate")


def changed(
    parameters: Mapping[str, Any], deployment: Mapping[str, Any] | None = None
) -> tuple[PipelineConfig, RunSettings]:
    """Merge a run's parameters over its deployment's, and both over the recipe.

    Prefect itself replaces a whole group by one that names a single setting of it; here a setting that nobody names
    keeps its value.

    Args:
        parameters: Of the run, as Prefect hands them over: the deployment's, replaced group by group.
        deployment: Of the deployment alone.

    Raises:
        ConfigError: If a setting is unknown, out of range, contradicts another or is given twice.
    """
    below = _filled(deployment or {})
    own = {name: value for name, value in _filled(parameters).items() if below.get(name) != value}
    name = str(own.get("preset") or below.get("preset") or "digits")
    if name not in PRESETS:
        raise ConfigError(f"no such recipe: {name}", item="preset", remedy=f"known are {', '.join(PRESETS)}")
    values = preset(name).model_dump()
    run: dict[str, Any] = {"preset": name}
    for layer in (below, own):
        _put_layer(values, run, layer)
    if values["prepare"]["kind"] == "digits" and not any(map(_names_a_source, (below, own))):
        values["prepare"]["source"] = ""  # because an empty field cannot take away the recipe's
    try:
        return validated(PipelineConfig, values), validated(RunSettings, run)
    except ConfigError as error:
        error.remedy = error.remedy or "an empty field takes the recipe's value"
        raise


def _put_layer(values: dict[str, Any], run: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if name in LEAD:
            _check_twice(layer, name, LEAD[name])
            put(values, LEAD[name], value)
        elif name in (*STAGES, "run"):
            _put_group(values, run, name, value)
        elif name in RUN_LEAD:
            run[name] = value
        elif name != "preset":
            raise ConfigError("no such parameter", item=name)


def _names_a_source(layer: Mapping[str, Any]) -> bool:
    return "source" in layer or "source" in layer.get("prepare", {})


def _put_group(values: dict[str, Any], run: dict[str, Any], name: str, group: object) -> None:
    if not isinstance(group, Mapping):
        raise ConfigError("must be a group of settings", item=name)
    if name == "run":
        if twice := group.keys() & {"preset", *RUN_LEAD}:
            raise ConfigError("no such setting", item=f"run.{min(twice)}", remedy="it is a parameter by itself")
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


def _filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the fields that hold a value: not None, no empty text or group, and no empty list as source."""
    filled = {}
    for name, value in given.items():
        inner = _filled(value) if isinstance(value, Mapping) else value
        if inner is not None and inner not in ("", {}) and not (name == "source" and not inner):
            filled[name] = inner
    return filled
