"""The form in the Prefect UI: its fields in order with titles and units, and errors in the form's words."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from flows.recipe.config import PipelineConfig
from flows.recipe.form import LEAD, RUN_LEAD, STAGES, SWEEP
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.sweep_settings import SweepSettings
from flows.runtime.settings import RunSettings
from flows.stage_config import StageConfig

# Titles with units, for settings whose names do not say enough.
_TITLES = {
    "source": "Images to read",
    "image_size": "Image size (pixels)",
    "initial": "Network to start from",
    "images": "Images to train on, repeats counted",
    "batch_size": "Batch size (images)",
    "sample.batch_size": "Images to draw at a time",
    "evaluate.batch_size": "Held-out images at a time",
    "base_channels": "Width of the network (channels)",
    "class_conditional": "Condition on classes",
    "samples": "Images to draw",
    "count": "Images to draw",
    "sampling_steps": "Steps of sampling",
    "num_steps": "Steps of sampling",
    "bound_images": "Held-out images for the likelihood",
    "bpd_images": "Held-out images for the likelihood",
    "bpd_draws": "Draws of noise per held-out image",
    "bpd_timesteps": "Timesteps per image for the estimate",
    "flow_steps": "Steps of the flow",
    "min_side": "Shortest side (pixels)",
    "labels": "Where classes come from",
    "label_depth": "Folder that is the class (1 is the first)",
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
    "microbatch": "Images per pass of a worker",
    "activation_checkpointing": "Save memory by computing activations twice",
    "deterministic": "Equal bits each time on a GPU",
    "dtype": "Number format of matrix products",
    "force": "Start afresh",
    "strict_environment": "Refuse another environment",
    "wait": "Wait for other runs",
    "patience": "Wait for nodes (minutes)",
    "until": "Last stage",
    "timeout": "Time limit (minutes)",
    "experiment": "MLflow experiment",
    "tracking": "Track in MLflow",
    "register_as": "Register in MLflow as",
    "champion_by": "Figure that decides on the champion",
    "grid": "Settings with several values each",
    "seeds": "Runs per combination",
    "at_once": "Runs at a time",
    "by": "Figure that ranks",
    "name": "Name of the run",
    "root": "Root of all outputs",
}
# The only group that does more than change settings.
_SWEEP_TITLE = "Sweep: one run per combination of settings"


def form_schema(
    recipe: str,
    config: PipelineConfig | None = None,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    until: str = "",
) -> dict[str, Any]:
    """Return the JSON schema of the form for a deployment of a recipe; descriptions state the recipe's values.

    Args:
        recipe: The preset that it starts from.
        config: The values of all its settings; those of the preset if it is None.
        own: The settings by which a recipe of the user differs from the preset, a group per stage.
        until: The last stage whose settings are offered beside the recipe's own; if it is empty all are, and a sweep.
    """
    config, run = config or preset(recipe), _empty_fields(RunSettings)
    names = STAGES[: STAGES.index(until) + 1] if until else STAGES
    stages = {stage: _stage_fields(stage, getattr(config, stage)) for stage in STAGES}
    run["until"] = {**run["until"], "enum": list(STAGES[:-1])}
    fields: dict[str, Any] = {name: run[name] for name in RUN_LEAD}
    for name, path in LEAD.items():
        stage, _, setting = path.partition(".")
        if stage in names:
            fields[name] = stages[stage][setting] | {"title": _title(name)}
    groups = {stage: _group(stage, getattr(config, stage), stages[stage]) for stage in names}
    groups["run"] = _plain_group(
        _group_title("run"), {name: field for name, field in run.items() if name not in (*RUN_LEAD, "preset")}
    )
    if not until:  # a sweep compares figures, so its runs run to their end
        groups[SWEEP] = _plain_group(_SWEEP_TITLE, _empty_fields(SweepSettings))
    description = "The preset that empty fields take their values from."
    fields["preset"] = {"title": "Recipe", "type": "string", "enum": list(PRESETS), "description": description}
    definitions: dict[str, Any] = {}
    if own:
        fields["recipe"] = _recipe_field(own, stages, definitions)
    for name, group in groups.items():
        definitions[f"{name.capitalize()}Changes"] = group
        fields[name] = _reference(group, f"{name.capitalize()}Changes")
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


def _recipe_field(
    own: Mapping[str, Mapping[str, Any]], stages: Mapping[str, Mapping[str, Any]], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Return the field of a recipe's own settings, filled with its values, and add its parts to the definitions."""
    groups = {}
    for stage, settings in own.items():
        part = _plain_group(stage.capitalize(), {name: stages[stage][name] for name in settings})
        definitions[f"{stage.capitalize()}Recipe"] = part
        groups[stage] = _reference(part, f"{stage.capitalize()}Recipe")
    definitions["Recipe"] = _plain_group("Settings of this recipe", groups)
    return _reference(definitions["Recipe"], "Recipe")


def _plain_group(title: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "properties": {name: field | {"position": place} for place, (name, field) in enumerate(fields.items())},
    }


def _reference(group: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"title": group["title"], "allOf": [{"$ref": f"#/definitions/{name}"}]}


def in_form_words(line: str) -> str:
    """Translate the remedy of an error from the words of the command line to those of the form."""
    line = re.sub(r"--set (\w+)\.(\w+)=(\S+)", lambda match: f"fill in {_place(match[1], match[2])}", line)
    own = f"below “{_group_title('run')}”"
    options = {
        "run with --force": f"turn on “{_title('force')}” {own}",
        "drop --strict-environment": f"turn off “{_title('strict_environment')}” {own}",
        "drop --no-wait": f"turn on “{_title('wait')}” {own}",
        "wait longer by --patience": f"raise “{_title('patience')}” {own}",
        "allow more by --timeout": f"raise “{_title('timeout')}” {own}",
        "--root": f"“{_title('root')}”",
        **{f"--{name.replace('_', '-')}": f"“{_title(name)}”" for name in SweepSettings.model_fields},
    }
    for option, words in options.items():
        line = line.replace(option, words)
    return line


def _place(stage: str, setting: str) -> str:
    lead = next((name for name, path in LEAD.items() if path == f"{stage}.{setting}"), "")
    return f"“{_title(lead)}”" if lead else f"“{_title(setting, stage)}” below “{_group_title(stage)}”"


def _group(stage: str, config: StageConfig, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the group of a stage's settings: first those that its result depends on, then the execution settings.

    Settings at the top of the form are accepted here but not shown twice: a property pattern gets no field.
    """
    names = sorted(fields, key=lambda name: config.role(name) == "execution")
    hidden = {f"^{name}$": fields[name] for name in names if f"{stage}.{name}" in LEAD.values()}
    visible = {name: fields[name] for name in names if f"^{name}$" not in hidden}
    return _plain_group(_group_title(stage), visible) | {"patternProperties": hidden}


def _group_title(name: str) -> str:
    return f"More settings: {name}"


def _stage_fields(stage: str, config: StageConfig) -> dict[str, Any]:
    """Return the fields of a stage; descriptions state the recipe's values."""
    fields = _empty_fields(type(config))
    for name, field in fields.items():
        text = _text(getattr(config, name))
        field["title"] = _title(name, stage)
        field["description"] = f"{field['description']}." + (f" Recipe: {text}." if text else "")
    return fields


def _empty_fields(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a model's fields such that the UI shows them empty and omits those left empty."""
    fields: dict[str, Any] = {}
    schema = kind.model_json_schema()
    for name, properties in schema["properties"].items():
        field = {key: value for key, value in properties.items() if key not in ("default", "role")}
        if "$ref" in field:  # because the UI resolves no references at this point
            field |= _options(schema, field.pop("$ref"))
        if "$ref" in field.get("items", {}):
            field["items"] = _options(schema, field["items"]["$ref"])
        if field.get("type") == "boolean":
            field["enum"] = [True, False]
            del field["type"]  # because a list of two options can be left empty, and the switch of a boolean cannot
        if "anyOf" in field:
            field["anyOf"] = sorted(field["anyOf"], key=lambda choice: choice["type"] == "array")
        fields[name] = field | {"title": _title(name)}
    return fields


def _text(value: object) -> str:
    """Return a value as the descriptions state it; an empty list is none."""
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _options(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    """Return the type and the options of the choice that a schema refers to."""
    options = schema["$defs"][reference.rsplit("/", 1)[1]]
    return {key: options[key] for key in ("type", "enum")}


def _title(name: str, stage: str = "") -> str:
    return _TITLES.get(f"{stage}.{name}") or _TITLES.get(name) or name.replace("_", " ").capitalize()
