"""A sweep from the form: its group changes no setting, and a form without a grid is a single run."""

import pytest
from prefect.utilities.schema_tools.validation import validate

from flows.recipe.form import changed, sweep_of
from flows.recipe.form_schema import form_schema, in_form_words
from flows.recipe.sweep_settings import MOST_RUNS, SweepSettings
from infra.errors import ConfigError

GRID = ["train.learning_rate=1e-4,2e-4"]


def test_without_a_grid_it_is_a_single_run() -> None:
    for sweep in (None, {}, {"grid": []}, {"grid": None, "seeds": 3}):
        assert sweep_of({"preset": "digits", "sweep": sweep}) is None, sweep
    assert sweep_of({"preset": "digits"}) is None


def test_the_group_is_the_command_line_and_changes_no_setting() -> None:
    parameters = {"preset": "digits", "sweep": {"grid": GRID, "seeds": 3, "at_once": 2, "by": "fd_classifier"}}
    assert sweep_of(parameters) == SweepSettings(grid=GRID, seeds=3, at_once=2, by="fd_classifier")
    assert changed(parameters) == changed({"preset": "digits"})


def test_a_run_changes_single_fields_of_its_deployments_sweep() -> None:
    deployment = {"preset": "digits", "sweep": {"grid": GRID, "seeds": 3}}
    assert sweep_of({"preset": "digits", "sweep": {"seeds": 5}}, deployment) == SweepSettings(grid=GRID, seeds=5)
    assert sweep_of(deployment, deployment) == SweepSettings(grid=GRID, seeds=3)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"grid": GRID, "seeds": 0}, "seeds: input should be greater than or equal to 1"),
        ({"grid": GRID, "sedes": 2}, "sedes: extra inputs are not permitted"),
        ("x", "sweep: must be a group of settings"),
    ],
)
def test_refusals(group: object, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_of({"preset": "digits", "sweep": group})
    assert words in str(error.value)


def test_the_form_takes_a_grid_and_refuses_what_is_none() -> None:
    schema = form_schema("digits")
    assert not list(validate({"sweep": {"grid": GRID, "seeds": 3}}, schema))
    for sweep in ({"grid": "x"}, {"seeds": 0}, {"seed": 1}):
        assert list(validate({"sweep": sweep}, schema, raise_on_error=False))
    assert MOST_RUNS > 100


def test_the_form_up_to_a_stage_offers_none() -> None:
    """Its runs would all be refused, since a sweep compares the figures of whole runs."""
    schema = form_schema("digits", until="train")
    assert "sweep" not in schema["properties"]
    assert list(validate({"sweep": {"grid": GRID}}, schema, raise_on_error=False))


def test_the_options_of_a_sweep_have_the_names_of_their_fields() -> None:
    titles = [field["title"] for field in form_schema("digits")["definitions"]["SweepChanges"]["properties"].values()]
    for option, title in zip(("--grid", "--seeds", "--at-once", "--by"), titles, strict=True):
        assert in_form_words(f"{option}: is wrong") == f"“{title}”: is wrong"
