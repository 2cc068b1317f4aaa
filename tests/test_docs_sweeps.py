"""docs/sweeps.md: its commands are valid, its example is the kept one, and its numbers are those of the code."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from docs.sweeps import FILES, GRID, HERE, SETTINGS, arguments
from flows.commands.sweep import register
from flows.comparison.difference import difference
from flows.comparison.measurement import Measurement
from flows.recipe.form import sweep_of
from flows.recipe.presets.table import preset
from flows.recipe.settings import load_config
from flows.recipe.sweep_settings import SweepSettings
from flows.sweep.children import _GRACE_S
from flows.sweep.outcome import _WORST_FIRST
from flows.sweep.plan import plan_sweep
from infra.interval import interval_factor

TOP = Path(__file__).parent.parent
PAGE = (TOP / "docs" / "sweeps.md").read_text()


def test_the_grids_of_the_commands_can_be_planned() -> None:
    commands = [shlex.split(line) for line in re.findall(r"^ddpm sweep .*$", PAGE, re.MULTILINE)]
    assert len(commands) == 2
    for words in commands:
        grid = [words[place + 1] for place, word in enumerate(words) if word == "--grid"]
        plan = plan_sweep(preset("digits"), "digits", "", SweepSettings(grid=grid), print)
        assert len(plan.combinations) == 3
    (parameters,) = re.findall(r"-p '(sweep=.*)'$", PAGE, re.MULTILINE)
    choices = sweep_of({"preset": "digits", "sweep": json.loads(parameters.removeprefix("sweep="))})
    assert choices is not None
    assert choices.seeds == 3


def test_every_option_of_the_command_is_named() -> None:
    app = typer.Typer()
    register(app)
    command = typer.main.get_command(app).commands["sweep"]  # type: ignore[attr-defined]
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[:2] == "--"}
    # An option that is on unless it is forbidden is known by its second name.
    known = {name for name in names if f"`{name}`" in PAGE or f"`{name} " in PAGE}
    assert {name for name in names - known if f"--no-{name[2:]}" not in known} == set()


def test_the_example_is_the_kept_one() -> None:
    config = load_config("digits", None, SETTINGS)
    plan = plan_sweep(config, "digits", "", SweepSettings(grid=[GRID], seeds=3), print)
    assert len(plan.runs) == 9
    assert f"{config.train.images:,} images" in PAGE
    with (HERE / FILES[0]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = GRID.partition("=")[0]
    assert [float(row[path]) for row in rows] == [each[path] for each in plan.combinations]
    assert {(row["runs"], row["planned"]) for row in rows} == {("3", "3")}
    assert GRID in arguments("root")
    assert (HERE / FILES[1]).stat().st_size > 1000


def test_the_verdicts_of_the_example_follow_from_its_numbers() -> None:
    """Each distance has an error from three trainings, so the interval is Welch's."""
    with (HERE / FILES[0]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    name = "fd_classifier"
    found = [
        Measurement(name=name, value=float(row[name]), standard_error=float(row[f"{name} standard_error"]), terms=3)
        for row in rows
    ]
    by = rows[0]["ranked by"]
    best = min(range(len(rows)), key=lambda place: float(rows[place][by]))
    assert rows[best]["verdict"] == ""
    assert all(row["verdict"] for place, row in enumerate(rows) if place != best)
    if by == name:
        for place, row in enumerate(rows):
            if place != best:
                apart = difference(found[best], found[place])
                assert float(row["interval"]) == pytest.approx(apart.interval)
                assert row["verdict"] == apart.verdict


def test_numbers() -> None:
    assert f"{interval_factor(2):.1f} standard errors" in " ".join(PAGE.split())
    assert f"{interval_factor(4):.1f} for three" in " ".join(PAGE.split())
    assert _GRACE_S == 120
    assert "longer than two minutes" in PAGE
    assert _WORST_FIRST[:2] == (1, 6)
    assert _WORST_FIRST[7] == 8
