"""A recipe of the user as a deployment: its runs are those of the same command line, and its form is filled with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import is_valid_schema, validate

from flows.recipe.form import STAGES, changed
from flows.recipe.presets.table import PRESETS
from flows.recipe.served import SET_BY_US, ServedRecipe, own_recipe, served_preset, served_presets
from flows.recipe.settings import load_config
from infra.errors import ConfigError

SETTINGS = (
    "prepare.source=/photos",
    "train.images=12345",
    "train.attention_resolutions=[]",
    "train.dropout=0.2",
    "sample.workers=3",
)


@pytest.fixture
def recipe() -> ServedRecipe:
    return own_recipe("folder", None, SETTINGS)


@pytest.mark.parametrize("start", PRESETS)
def test_its_runs_are_those_of_the_command_line(start: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nimages = 5\ndropout = 0.1\n")
    settings = ["train.images=6", "prepare.kind=folder", "prepare.source=/photos"]
    served = own_recipe(start, file, settings)
    config, run = changed(served.parameters("/runs"), served.parameters("/runs"))
    assert config == load_config(start, file, settings)
    assert (run.preset, run.root, run.name, run.until) == (start, "/runs", "", "")
    json.dumps(served.parameters("/runs"))


def test_empty_values_are_values() -> None:
    served = own_recipe("fashion-mnist", None, ["prepare.kind=digits", "prepare.source="])
    assert changed(served.parameters("/runs"))[0].prepare.source == ""


def test_a_run_and_its_deployment_may_change_it(recipe: ServedRecipe) -> None:
    """A user's edit of the deployment, and a run that names one setting, each keep the rest of the recipe."""
    deployment = recipe.parameters("/runs") | {"learning_rate": 0.5}
    config, _ = changed(deployment | {"images": 99, "train": {"dropout": 0.3}}, deployment)
    settings = [*SETTINGS, "train.images=99", "train.dropout=0.3", "train.learning_rate=0.5"]
    assert config == load_config("folder", None, settings)
    part = {"recipe": {"train": {"images": 7}}}
    assert changed(deployment | part, deployment)[0].train.dropout == 0.2, "the API may name a part of the recipe"
    assert changed(deployment | part, deployment)[0].train.images == 7


@pytest.mark.parametrize("bad", [5, {"train": 5}, ["train.images=5"]])
def test_what_is_no_recipe(bad: object) -> None:
    with pytest.raises(ConfigError, match="recipe: must be groups of settings"):
        changed({"recipe": bad})
    with pytest.raises(ConfigError, match=r"train\.imags: no such setting"):
        changed({"recipe": {"train": {"imags": 5}}})


def test_its_form_shows_its_settings_filled_in(recipe: ServedRecipe) -> None:
    schema = recipe.schema
    is_valid_schema(schema)
    assert validate(recipe.parameters("/runs"), schema, preprocess=True) == []
    assert validate(recipe.parameters("/runs") | {"recipe": {"train": {"images": 0}}}, schema, preprocess=True)
    definitions = schema["definitions"]
    assert list(definitions["Recipe"]["properties"]) == ["prepare", "train", "sample"]
    fields = definitions["TrainRecipe"]["properties"]
    assert list(fields) == ["images", "attention_resolutions", "dropout"]
    assert [field["position"] for field in fields.values()] == [0, 1, 2]
    assert fields["images"]["description"].endswith("Recipe: 12,345.")
    assert schema["properties"]["images"]["description"].endswith("Recipe: 12,345."), "of the lead too"
    assert schema["properties"]["recipe"]["title"] == "Settings of this recipe"


def test_names() -> None:
    assert own_recipe("digits", None, ["train.images=5"]).name == "digits-train.images=5"
    named = own_recipe("digits", None, ["train.images=5"], "mine")
    assert (named.name, named.parameters("/runs")["name"]) == ("mine", "mine"), "as `ddpm run --name` names the runs"
    assert own_recipe("digits", None, [], "mine").name == "mine"


def test_a_file_gives_its_name(tmp_path: Path) -> None:
    file = tmp_path / "my photos%.json"
    file.write_text('{"train": {"images": 5}}')
    assert own_recipe("digits", file, []).name == "my_photos_"


@pytest.mark.parametrize("name", ["a/b", "my run", "x" * 65, "ä"])
def test_a_name_that_no_run_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match="--name: must be up to 64 letters"):
        own_recipe("digits", None, [], name)


def test_what_is_wrong_is_said_before_anything_is_served() -> None:
    with pytest.raises(ConfigError, match=r"train\.imags: no such setting"):
        own_recipe("digits", None, ["train.imags=5"])
    with pytest.raises(ConfigError, match="no such preset: digit"):
        served_preset("digit")


def test_each_stage_is_a_recipe_of_its_own(recipe: ServedRecipe) -> None:
    parts = recipe.up_to_each_stage
    assert [part.until for part in parts] == list(STAGES[:-1])
    for part in parts:
        parameters = part.parameters("/runs")
        config, run = changed(parameters, parameters)
        assert run.until == part.until
        last = STAGES.index(part.until)
        for stage in STAGES[: last + 1]:
            assert getattr(config, stage) == getattr(recipe.config, stage), "the key of the whole recipe"
        schema = part.schema
        assert validate(parameters, schema, preprocess=True) == []
        offered = [stage for stage in STAGES if stage in schema["properties"]]
        assert offered == list(STAGES[: last + 1])
        assert part.tags == ["ddpm", "folder", part.until]
        assert part.until in part.description
    assert "samples" not in parts[0].schema["properties"]
    assert "samples" in parts[2].schema["properties"]


def test_a_stage_takes_the_whole_recipe() -> None:
    """Else the preset's steps of sampling would contradict the recipe's 20 timesteps, and training be refused."""
    recipe = own_recipe("digits", None, ["train.num_timesteps=20", "train.beta_end=0.3", "sample.num_steps=5"])
    for part in recipe.up_to_each_stage:
        assert changed(part.parameters("/runs"))[0].model_dump() == recipe.config.model_dump()
        assert validate(part.parameters("/runs"), part.schema, preprocess=True) == []


def test_until_is_a_stage_before_the_last() -> None:
    for until in ("evaluate", "report", "nothing"):
        with pytest.raises(ConfigError, match=f"no such stage: {until} - choose one of prepare, train, sample"):
            changed({"until": until})
    with pytest.raises(ConfigError, match="register_as needs every stage, as train measures no network"):
        changed({"until": "train", "run": {"register_as": "x"}})


def test_the_first_stage_alone_needs_no_network_that_fits() -> None:
    """Rules between stages are those of a run that trains."""
    odd: dict[str, Any] = {"preset": "folder", "source": "/photos", "image_size": 40}
    with pytest.raises(ConfigError):
        changed(odd)
    assert changed(odd | {"until": "prepare"})[0].prepare.image_size == 40


def test_presets_are_served_as_they_are() -> None:
    assert [one.name for one in served_presets()] == list(PRESETS)
    for one in served_presets():
        assert one.parameters("/runs") == {"preset": one.name, "root": "/runs"}
        assert one.parameters("/runs").keys() <= SET_BY_US | {"until"}
        assert "recipe" not in one.schema["properties"]
        assert PRESETS[one.name].about in one.description


@pytest.mark.parametrize(
    ("until", "kept", "fits"),
    [
        ("", {}, True),
        ("", {"train": {"dropout": 0.3}}, True),
        ("", {"train": {"no_such": 1}}, False),
        ("", {"sweep": {"grid": ["train.learning_rate=1e-4,2e-4"], "seeds": 2}}, True),
        ("", {"sweep": {"grid": ["train.learning_rate=1e-4,2e-4"], "trials": 2}}, False),
        ("", {"sweep": {"seeds": 0}}, False),
        ("train", {"sweep": {"grid": ["train.learning_rate=1e-4,2e-4"]}}, False),
        ("train", {"sweep": {"seeds": 2}}, False),
        ("train", {"sweep": {}}, True),
    ],
    ids=str,
)
def test_parameters_of_an_older_version_fit_if_a_run_takes_them(until: str, kept: dict[str, Any], fits: bool) -> None:
    served = {one.until: one for one in (served_preset("digits"), *served_preset("digits").up_to_each_stage)}[until]
    assert served.accepts(served.parameters("/runs") | kept) is fits
