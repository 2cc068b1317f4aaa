"""prefect.yaml, judged by Prefect's own parser and by the flow that its deployments run."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._config import _load_deploy_configs_and_actions
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel, RawScheduleConfig, WorkPoolConfig
from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate
from rich.console import Console

from flows.pipeline import pipeline
from flows.recipe.form import changed
from flows.recipe.form_schema import form_schema
from flows.recipe.presets.table import PRESETS

FILE = Path(__file__).parents[1] / "prefect.yaml"
RAW = yaml.safe_load(FILE.read_text())
NAMES = [deployment["name"] for deployment in RAW["deployments"]]


def deployment_of(name: str) -> dict[str, Any]:
    (found,) = [one for one in RAW["deployments"] if one["name"] == name]
    return copy.deepcopy(found)


def test_prefects_own_parser_takes_it() -> None:
    console = Console(record=True)
    configs, actions = _load_deploy_configs_and_actions(FILE, console=console)
    assert console.export_text() == ""
    assert [config["name"] for config in configs] == NAMES
    assert actions["pull"] == []


def test_it_holds_no_key_that_prefect_ignores() -> None:
    """Prefect's models leave out what they do not know, so a slip of the pen would have no effect and no message."""

    def known(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    assert set(RAW) <= known(PrefectYamlModel)
    for deployment in RAW["deployments"]:
        assert set(deployment) <= known(DeploymentConfig)
        assert set(deployment["work_pool"]) <= known(WorkPoolConfig)
        for schedule in deployment.get("schedules", []):
            assert set(schedule) <= known(RawScheduleConfig)


@pytest.mark.parametrize("name", NAMES)
def test_each_deployment_runs_the_pipeline_with_settings_that_exist(name: str) -> None:
    deployment = deployment_of(name)
    assert load_flow_from_entrypoint(deployment["entrypoint"]).fn is pipeline.fn
    parameters = deployment["parameters"]
    assert validate(parameters, parameter_schema(pipeline).model_dump_for_openapi(), preprocess=True) == []
    assert validate(parameters, form_schema(parameters["preset"]), preprocess=True) == []
    assert changed(parameters)[1].preset == parameters["preset"]


@pytest.mark.parametrize("name", NAMES)
def test_each_schedule_has_a_time_zone_and_waits_for_its_user(name: str) -> None:
    for schedule in deployment_of(name).get("schedules", []):
        made = _schedule_config_to_deployment_schedule(schedule)
        assert made["schedule"].timezone == schedule["timezone"]
        assert made["slug"], "so that the next `prefect deploy` changes this one and leaves others"
        assert made["active"] is False


def test_the_names_are_none_of_ddpm_serve() -> None:
    assert not set(NAMES) & set(PRESETS)
    assert len(set(NAMES)) == len(NAMES)


def test_every_parameter_of_the_flow_is_described() -> None:
    properties = parameter_schema(pipeline).properties
    assert [name for name, field in properties.items() if not field.get("description")] == []
