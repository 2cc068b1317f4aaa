"""The parameters of the Prefect flow: a recipe and what a run changes of it; an empty field means the recipe's value.

The form leads with the settings that people change. Every setting is there again in the group of its stage, under the
name that the command line gives it, so that the same choice has the same key whichever way it is made.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from flows.config import PipelineConfig, StageConfig
from flows.presets import PRESETS, PresetName, preset, put, validated
from flows.run_settings import RunSettings
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
_RUN_LEAD = ("name", "root")
STAGES = ("prepare", "train", "sample", "evaluate")
# What a name alone does not say, with units.
_TITLES = {
    "source": "Images to read",
    "image_size": "Image size (pixels)",
    "images": "Images to train on, repeats counted",
    "batch_size": "Batch size (images)",
    "base_channels": "Width of the network (channels)",
    "class_conditional": "Condition on classes",
    "samples": "Images to draw",
    "count": "Images to draw",
    "sampling_steps": "Steps of sampling",
    "num_steps": "Steps of sampling",
    "bound_images": "Held-out images for the bound",
    "bpd_images": "Held-out images for the bound",
    "bpd_timesteps": "Timesteps per image for the bound",
    "min_side": "Shortest side (pixels)",
    "unit_images": "Images per file",
    "lr_warmup_images": "Learning rate: warm-up (images)",
    "lr_decay_images": "Learning rate: decay from (images)",
    "grad_clip": "Bound on the gradient's norm",
    "ema_halflife_images": "Half-life of the averaged weights (images)",
    "ema_rampup_ratio": "Half-life as a share of the run so far",
    "shuffle_images": "Images to mix at a time",
    "num_timesteps": "Timesteps T",
    "num_res_blocks": "Residual blocks per level",
    "num_heads": "Attention heads",
    "attention_resolutions": "Attention at sizes (pixels)",
    "channel_mults": "Channels of each level (times width)",
    "checkpoint_images": "Checkpoint every (images)",
    "checkpoint_minutes": "Checkpoint every (minutes)",
    "history_images": "Row of the loss curve every (images)",
    "keep_checkpoints": "Checkpoints to keep",
    "threads": "CPU threads per worker",
    "dtype": "Number format of matrix products",
    "force": "Start afresh",
    "experiment": "MLflow experiment",
    "tracking": "Track in MLflow",
    "name": "Name of the run",
    "root": "Root of all outputs",
}


def form_schema(recipe: PresetName) -> dict[str, Any]:
    """The JSON schema of the form for a deployment of this recipe; descriptions name the recipe's values."""
    config = preset(recipe)
    fields: dict[str, Any] = {name: _run_field(name) for name in _RUN_LEAD}
    for name, path in LEAD.items():
        stage, _, setting = path.partition(".")
        fields[name] = _field(getattr(config, stage), setting, title=_title(name))
    groups = {stage: _group(stage, getattr(config, stage)) for stage in STAGES}
    groups["run"] = {
        "title": _group_title("run"),
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _run_field(name) | {"position": place}
            for place, name in enumerate(n for n in RunSettings.model_fields if n not in (*_RUN_LEAD, "preset"))
        },
    }
    about = "The preset that empty fields take their values from."
    fields["preset"] = {"title": "Recipe", "type": "string", "enum": list(PRESETS), "description": about}
    definitions = {}
    for name, group in groups.items():
        definitions[f"{name.capitalize()}Changes"] = group
        fields[name] = {"title": group["title"], "allOf": [{"$ref": f"#/definitions/{name.capitalize()}Changes"}]}
    for place, field in enumerate(fields.values()):
        field["position"] = place
    return {
        "title": "Parameters",
        "type": "object",
        "additionalProperties": False,
        "properties": fields,
        "required": [],
        "definitions": definitions,
    }


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


def in_form_words(line: str) -> str:
    """Say a remedy of the command line as one of the form."""
    line = re.sub(r"--set (\w+)\.(\w+)=(\S+)", lambda found: f"fill in {_place(found[1], found[2])}", line)
    return line.replace("run with --force", f"turn on “{_title('force')}” below “{_group_title('run')}”").replace(
        "--root", f"“{_title('root')}”"
    )


def _place(stage: str, setting: str) -> str:
    lead = next((name for name, path in LEAD.items() if path == f"{stage}.{setting}"), "")
    return f"“{_title(lead)}”" if lead else f"“{_title(setting)}” below “{_group_title(stage)}”"


def _put_layer(values: dict[str, Any], run: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if name in LEAD:
            _check_twice(layer, name, LEAD[name])
            put(values, LEAD[name], value)
        elif name in (*STAGES, "run"):
            _put_group(values, run, name, value)
        elif name in _RUN_LEAD:
            run[name] = value
        elif name != "preset":
            raise ConfigError("no such parameter", item=name)


def _names_a_source(layer: Mapping[str, Any]) -> bool:
    return "source" in layer or "source" in layer.get("prepare", {})


def _put_group(values: dict[str, Any], run: dict[str, Any], name: str, group: object) -> None:
    if not isinstance(group, Mapping):
        raise ConfigError("must be a group of settings", item=name)
    if name == "run":
        if twice := group.keys() & {"preset", *_RUN_LEAD}:
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
    """What was filled in: neither None, nor an empty text or group; an empty list is a value, but no source."""
    filled = {}
    for name, value in given.items():
        inner = _filled(value) if isinstance(value, Mapping) else value
        if inner is not None and inner not in ("", {}) and not (name == "source" and not inner):
            filled[name] = inner
    return filled


def _group(stage: str, config: StageConfig) -> dict[str, Any]:
    """A stage's settings, those of its result first, then those that only say how the work is done.

    What leads the form is not shown twice, but taken here as well: a pattern is no field.
    """
    names = sorted(type(config).model_fields, key=lambda name: config.role(name) == "execution")
    fields = {name: _field(config, name, title=_title(name)) for name in names}
    hidden = {f"^{name}$": fields.pop(name) for name in names if f"{stage}.{name}" in LEAD.values()}
    for place, field in enumerate(fields.values()):
        field["position"] = place
    return {
        "title": _group_title(stage),
        "type": "object",
        "additionalProperties": False,
        "properties": fields,
        "patternProperties": hidden,
    }


def _group_title(name: str) -> str:
    return f"More settings: {name}"


def _field(config: StageConfig, name: str, *, title: str) -> dict[str, Any]:
    about = _empty_field(type(config), name)
    value = getattr(config, name)
    shown = f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    recipe = f" Recipe: {shown}." if shown else ""
    return about | {"title": title, "description": f"{about['description']}.{recipe}"}


def _run_field(name: str) -> dict[str, Any]:
    return _empty_field(RunSettings, name) | {"title": _title(name)}


def _empty_field(kind: type[BaseModel], name: str) -> dict[str, Any]:
    """What pydantic says of a field, so that the pages show it empty and send nothing of it."""
    about = dict(kind.model_json_schema()["properties"][name])
    for key in ("default", "role"):
        about.pop(key, None)
    if about.get("type") == "boolean":
        about["enum"] = [True, False]
        del about["type"]  # a list of two can be empty; the switch of a boolean is off, and says so
    if "anyOf" in about:
        about["anyOf"] = sorted(about["anyOf"], key=lambda kind: kind["type"] == "array")
    return about


def _title(name: str) -> str:
    return _TITLES.get(name) or name.replace("_", " ").capitalize()
