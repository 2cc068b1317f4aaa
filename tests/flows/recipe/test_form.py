"""Partial parameters change what they name and nothing else, by form, API and command line alike."""

import json
from typing import Any

import pytest

from flows.recipe.config import PipelineConfig
from flows.recipe.form import LEAD, STAGES, changed
from flows.recipe.identity import recipe_key
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.settings import load_config
from flows.runtime.settings import RunSettings
from infra.errors import ConfigError
from tests.flows.recipe.other_values import BESIDE, OTHER

FIELDS = [f"{stage}.{name}" for stage in STAGES for name in type(getattr(PipelineConfig(), stage)).model_fields]


def value_of(config: PipelineConfig, path: str) -> Any:
    stage, _, name = path.partition(".")
    return getattr(getattr(config, stage), name)


def other(recipe: str, path: str) -> Any:
    """A value that the recipe has not."""
    first, second = OTHER[path]
    return first if first != value_of(preset(recipe), path) else second


def by_form(recipe: str, *choices: tuple[str, Any]) -> PipelineConfig:
    groups: dict[str, dict[str, Any]] = {}
    for path, value in choices:
        stage, _, name = path.partition(".")
        groups.setdefault(stage, {})[name] = value
    return changed({"preset": recipe, **groups})[0]


def by_command_line(recipe: str, *choices: tuple[str, Any]) -> PipelineConfig:
    return load_config(recipe, None, [f"{path}={json.dumps(value)}" for path, value in choices])


@pytest.mark.parametrize("recipe", PRESETS)
def test_an_empty_form_is_the_recipe(recipe: str) -> None:
    empty = {name: None for name in (*LEAD, "name", "root")} | {"prepare": {}, "train": {"images": None}, "run": {}}
    for parameters in ({}, empty, {"source": "", "sampler": "", "preset": recipe}, {"source": [], "root": ""}):
        config, settings = changed({"preset": recipe, **parameters})
        assert config == load_config(recipe, None, [])
        assert settings == RunSettings(preset=recipe)


def test_without_a_recipe_it_is_the_digits() -> None:
    assert changed({}) == (load_config("digits", None, []), RunSettings(preset="digits"))


def test_every_setting_is_tried() -> None:
    assert set(FIELDS) == set(OTHER)
    assert len(FIELDS) > 70


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("recipe", PRESETS)
def test_one_setting_changes_itself_and_nothing_else(recipe: str, path: str) -> None:
    value = other(recipe, path)
    choices = [(path, value), *([BESIDE[path]] if path in BESIDE else [])]
    config = by_form(recipe, *choices)
    assert config == by_command_line(recipe, *choices)
    assert recipe_key(config) == recipe_key(by_command_line(recipe, *choices))
    recipes = preset(recipe)
    differing = {field for field in FIELDS if value_of(config, field) != value_of(recipes, field)}
    assert path in differing
    assert differing <= {name for name, _ in choices}


# Two levels suit the digits' attention by themselves.
@pytest.mark.parametrize("path", sorted(BESIDE.keys() - {"train.channel_mults"}))
def test_alone_such_a_setting_is_refused_either_way_with_the_same_words(path: str) -> None:
    recipe: str = "digits"
    with pytest.raises(ConfigError) as form:
        by_form(recipe, (path, other(recipe, path)))
    with pytest.raises(ConfigError) as command_line:
        by_command_line(recipe, (path, other(recipe, path)))
    assert str(form.value) == f"{command_line.value} - an empty field takes the recipe's value"


@pytest.mark.parametrize(("lead", "path"), LEAD.items())
@pytest.mark.parametrize("recipe", PRESETS)
def test_what_leads_the_form_is_a_setting_of_its_group(recipe: str, lead: str, path: str) -> None:
    value = other(recipe, path)
    rest = {"prepare": {"kind": "folder"}} if lead == "source" else {}
    rest |= {"train": {"attention_resolutions": []}} if lead == "image_size" else {}
    config = changed({"preset": recipe, lead: value, **rest})[0]
    assert value_of(config, path) == value
    choices = [(path, value), *([BESIDE[path]] if path in BESIDE else [])]
    assert config == by_form(recipe, *choices) == by_command_line(recipe, *choices)


def test_values_that_look_empty_are_values() -> None:
    assert changed({"class_conditional": False})[0].train.class_conditional is False
    assert changed({"sample": {"clip_x_start": False}})[0].sample.clip_x_start is False
    assert changed({"sampling_steps": 0})[0].sample.num_steps == 0
    assert changed({"train": {"dropout": 0, "attention_resolutions": []}})[0].train.attention_resolutions == []
    assert changed({"run": {"tracking": False}})[1].tracking is False


def test_the_digits_take_no_recipes_source() -> None:
    """Neither the form nor the command line, whose source is empty then, could take it away."""
    assert changed({"preset": "fashion-mnist", "prepare": {"kind": "digits"}})[0].prepare.source == ""
    groups = load_config("fashion-mnist", None, ["prepare.kind=digits", "prepare.source="]).model_dump(mode="json")
    assert changed({"preset": "fashion-mnist", **groups})[0].model_dump(mode="json") == groups
    with pytest.raises(ConfigError, match="must be empty for the digits"):
        changed({"preset": "digits", "source": "/images"})


@pytest.mark.parametrize("recipe", PRESETS)
def test_what_the_command_line_hands_over_in_full_is_the_same(recipe: str) -> None:
    paths = ("train.images", "train.seed", "sample.count", "train.channel_mults")
    choices = [*((path, other(recipe, path)) for path in paths), BESIDE["train.channel_mults"]]
    config = by_command_line(recipe, *choices)
    groups = {stage: getattr(config, stage).model_dump(mode="json") for stage in STAGES}
    assert changed({"preset": recipe, "name": "", "root": "", **groups, "run": {"experiment": "x"}}) == (
        config,
        RunSettings(preset=recipe, experiment="x"),
    )


DEPLOYMENT = {"preset": "digits", "root": "/runs", "images": 5_000, "train": {"batch_size": 64, "seed": 3}}


@pytest.mark.parametrize(
    ("ours", "images", "batch_size", "seed", "learning_rate"),
    [
        ({}, 5_000, 64, 3, 2e-3),
        ({"train": {"learning_rate": 0.5}}, 5_000, 64, 3, 0.5),
        ({"train": {"seed": 4}}, 5_000, 64, 4, 2e-3),
        ({"images": 6_000, "learning_rate": 0.5}, 6_000, 64, 3, 0.5),
        ({"train": {"images": 7_000}}, 7_000, 64, 3, 2e-3),
        ({"batch_size": 32}, 5_000, 32, 3, 2e-3),
        ({"train": {}, "images": None, "root": ""}, 5_000, 64, 3, 2e-3),
    ],
)
def test_a_deployments_settings_stay_below_those_of_a_run(
    ours: dict[str, Any], images: int, batch_size: int, seed: int, learning_rate: float
) -> None:
    """Prefect hands over the deployment's parameters, with each that the run names replaced as a whole."""
    config, settings = changed(DEPLOYMENT | ours, DEPLOYMENT)
    rest = ["train.images", "train.batch_size", "train.seed", "train.learning_rate"]
    values = images, batch_size, seed, learning_rate
    assert config == by_command_line("digits", *zip(rest, values, strict=True))
    assert settings == RunSettings(preset="digits", root="/runs")


def test_a_run_may_take_another_recipe_than_its_deployment() -> None:
    config, settings = changed(DEPLOYMENT | {"preset": "folder"}, DEPLOYMENT)
    assert settings.preset == "folder"
    choices = {"train.images": 5_000, "train.batch_size": 64, "train.seed": 3}
    assert config == by_command_line("folder", *choices.items())


def test_the_runs_own_settings() -> None:
    parameters = {"name": "mine", "root": "s3://b/c", "run": {"tracking": False, "mode": "in-process", "force": True}}
    settings = RunSettings(preset="digits", name="mine", root="s3://b/c", tracking=False, mode="in-process", force=True)
    assert changed(parameters)[1] == settings


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"imags": 5}, "imags: no such parameter"),
        ({"train": {"imags": 5}}, "train.imags: no such setting - did you mean images?"),
        ({"train": 5}, "train: must be a group of settings"),
        ({"run": [5]}, "run: must be a group of settings"),
        ({"run": {"imags": 5}}, "imags: extra inputs are not permitted"),
        ({"run": {"preset": "folder"}}, "run.preset: no such setting"),
        ({"run": {"root": "/x"}}, "run.root: no such setting"),
        ({"preset": "cifar"}, f"preset: no such recipe: cifar - choose one of {', '.join(PRESETS)}"),
        ({"images": 0}, "train.images: input should be greater than or equal to 1; got 0"),
        ({"train": {"images": 1.5}}, "train.images"),
        ({"sample": {"eta": 2}}, "sample.eta"),
        ({"learning_rate": float("nan")}, "train.learning_rate"),
        ({"sampler": "euler"}, "sample.sampler"),
        ({"name": "my run"}, "name: string should match pattern"),
        ({"name": "a\nb"}, "name: string should match pattern"),
        ({"images": 5, "train": {"images": 6}}, "images: 5, and 6 as train.images - leave one of the two empty"),
        (
            {"sampler": "ode", "train": {"zero_terminal_snr": True, "parameterisation": "v"}},
            "sample.sampler ode starts at infinite noise",
        ),
        ({"train": {"attention_resolutions": [5]}}, "attention_resolutions must be among the sizes [8, 4]"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(parameters: dict[str, Any], says: str) -> None:
    for deployment in ({}, DEPLOYMENT):
        with pytest.raises(ConfigError) as caught:
            changed(deployment | parameters, deployment)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


def test_one_value_given_twice_is_fine() -> None:
    assert changed({"images": 5, "train": {"images": 5}})[0].train.images == 5
