"""The form's schema, judged by Prefect's own validator, and read as its pages read it."""

from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import is_valid_schema, validate

from flows.metrics.choices import MetricName
from flows.recipe.config import PipelineConfig
from flows.recipe.form import LEAD, RUN_LEAD, STAGES
from flows.recipe.form_schema import form_schema
from flows.recipe.presets.table import PRESETS
from flows.recipe.sweep_settings import SweepSettings
from flows.runtime.settings import RunSettings


def fields_of(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every field that a page shows, by its full name."""
    groups = {name.removesuffix("Changes").lower(): group for name, group in schema["definitions"].items()}
    fields = {name: field for name, field in schema["properties"].items() if name not in groups}
    for group, about in groups.items():
        fields |= {f"{group}.{name}": field for name, field in about["properties"].items()}
    return fields


@pytest.fixture(scope="module", params=PRESETS)
def recipe(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def schema(recipe: str) -> dict[str, Any]:
    return form_schema(recipe)


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    is_valid_schema(schema)


def test_it_leads_with_what_people_change(schema: dict[str, Any]) -> None:
    assert list(schema["properties"]) == ["name", "root", "until", *LEAD, "preset", *STAGES, "run", "sweep"]


def test_every_setting_is_offered_once(schema: dict[str, Any]) -> None:
    stages = {
        f"{stage}.{name}" for stage in STAGES for name in type(getattr(PipelineConfig(), stage)).model_fields
    } - set(LEAD.values())
    run = {f"run.{name}" for name in set(RunSettings.model_fields) - {*RUN_LEAD, "preset"}}
    sweep = {f"sweep.{name}" for name in SweepSettings.model_fields}
    assert set(fields_of(schema)) == stages | run | sweep | set(LEAD) | {*RUN_LEAD, "preset"}


def test_positions_follow_one_another(schema: dict[str, Any]) -> None:
    for properties in (schema["properties"], *(group["properties"] for group in schema["definitions"].values())):
        assert [field["position"] for field in properties.values()] == list(range(len(properties)))


def test_results_come_before_execution(schema: dict[str, Any]) -> None:
    for stage in STAGES:
        config = getattr(PipelineConfig(), stage)
        roles = [
            config.role(name) == "execution"
            for name in schema["definitions"][f"{stage.capitalize()}Changes"]["properties"]
        ]
        assert roles == sorted(roles)


def test_every_field_is_named_and_described_in_plain_words(schema: dict[str, Any]) -> None:
    for name, field in fields_of(schema).items():
        assert field["title"][0].isupper(), name
        assert "_" not in field["title"], name
        assert len(field["description"]) > 10, name
    titles = [field["title"] for name, field in schema["properties"].items()]
    assert len(titles) == len(set(titles))


def test_the_recipes_values_are_said(recipe: str, schema: dict[str, Any]) -> None:
    config = PRESETS[recipe].config
    assert schema["properties"]["images"]["description"].endswith(f" Recipe: {config.train.images:,}.")
    metrics = schema["definitions"]["EvaluateChanges"]["properties"]["metrics"]
    assert metrics["description"].endswith(f" Recipe: {', '.join(config.evaluate.metrics)}.")
    assert metrics["items"]["enum"] == list(MetricName)
    assert not [field for field in fields_of(schema).values() if "<" in field["description"]]


def test_an_untouched_field_sends_nothing(schema: dict[str, Any]) -> None:
    """A default would be sent as the user's choice, and the switch of a boolean as False."""
    assert schema["required"] == []
    for name, field in fields_of(schema).items():
        assert "default" not in field, name
        assert field.get("type") != "boolean", name
        assert field.get("enum") != [], name
    assert fields_of(schema)["class_conditional"]["enum"] == [True, False]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"images": 512, "samples": 8},
        {"train": {"grad_clip": 2.0}, "sample": {}},
        {"train": {"images": 512}, "sample": {"count": 8}, "prepare": {"source": "/x"}, "evaluate": {"bpd_images": 2}},
        {"class_conditional": True, "train": {"random_flip": False, "class_conditional": False}},
        {"run": {"tracking": False, "force": True}},
        {"source": "/x"},
        {"source": ["/x", "s3://b/c"]},
        {"train": {"channel_mults": [1, 2], "attention_resolutions": []}},
        {"name": "", "root": "", "preset": "digits"},
        {"name": "my-run", "root": "s3://bucket/runs", "learning_rate": 1},
    ],
)
def test_prefect_takes_any_part_of_it(schema: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert validate(parameters, schema, preprocess=True) == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"imags": 512},
        {"train": {"imags": 512}},
        {"train": {"images": 0}},
        {"train": {"ximages": 512}},
        {"run": {"name": "x"}},
        {"run": {"preset": "digits"}},
        {"images": 0},
        {"images": 1.5},
        {"images": "many"},
        {"learning_rate": 0},
        {"batch_size": -1},
        {"class_conditional": "yes"},
        {"sampler": "euler"},
        {"preset": "cifar"},
        {"name": "my run"},
        {"train": {"channel_mults": [0]}},
        {"train": 5},
        {"sample": {"eta": 1.5}},
    ],
)
def test_prefect_refuses_what_is_wrong_before_anything_runs(schema: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert validate(parameters, schema, preprocess=True)


def test_three_kinds_of_batch_have_three_titles(schema: dict[str, Any]) -> None:
    fields = fields_of(schema)
    titles = {fields[name]["title"] for name in ("batch_size", "sample.batch_size", "evaluate.batch_size")}
    assert len(titles) == 3
