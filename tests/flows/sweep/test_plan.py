"""A plan has every combination with its seeds, and refuses what could not run before anything starts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flows.recipe.presets.table import preset
from flows.recipe.sweep_settings import MOST_RUNS, SweepSettings
from flows.sweep.plan import SweepPlan, leaders_first, plan_sweep
from infra.errors import ConfigError


def planned(*grid: str, seeds: int = 1, name: str = "", said: list[str] | None = None) -> SweepPlan:
    settings = SweepSettings(grid=list(grid), seeds=seeds)
    return plan_sweep(preset("digits"), "digits", name, settings, [].append if said is None else said.append)


def seeds_of(plan: SweepPlan) -> list[tuple[int, Sequence[int]]]:
    return [(run.combination, list(run.seeds.values())) for run in plan.runs]


def test_each_run_has_the_settings_of_its_combination_and_nothing_else_changed() -> None:
    plan = planned("train.learning_rate=1e-3,3e-3", "sample.num_steps=10,20")
    assert [(run.config.train.learning_rate, run.config.sample.num_steps) for run in plan.runs] == [
        (1e-3, 10), (1e-3, 20), (3e-3, 10), (3e-3, 20),
    ]  # fmt: skip
    base = preset("digits").model_dump()
    for run in plan.runs:
        values = run.config.model_dump()
        values["train"]["learning_rate"] = base["train"]["learning_rate"]
        values["sample"]["num_steps"] = base["sample"]["num_steps"]
        assert values == base


def test_seeds_of_training_count_if_the_grid_changes_the_training() -> None:
    plan = planned("train.learning_rate=1e-3,3e-3", seeds=2)
    assert plan.varied == ("train.seed", "sample.seed", "evaluate.seed")
    assert seeds_of(plan) == [(0, [0, 0, 0]), (0, [1, 1, 1]), (1, [0, 0, 0]), (1, [1, 1, 1])]
    assert [run.config.train.seed for run in plan.runs] == [0, 1, 0, 1]
    assert len({run.network for run in plan.runs}) == 4


def test_seeds_of_the_noise_are_enough_if_all_runs_share_the_network() -> None:
    plan = planned("sample.num_steps=10,20", seeds=3)
    assert plan.varied == ("sample.seed", "evaluate.seed")
    assert {run.config.train.seed for run in plan.runs} == {0}
    assert len({run.network for run in plan.runs}) == 1


def test_workers_do_not_make_another_network() -> None:
    plan = planned("sample.seed=0,1")
    first = plan.runs[0].config
    other = first.model_copy(update={"train": first.train.model_copy(update={"workers": 2})})
    assert replace(plan.runs[0], config=other).network == plan.runs[0].network


def test_the_first_run_of_each_network_comes_first() -> None:
    plan = planned("sample.num_steps=10,20", "train.learning_rate=1e-3,3e-3")
    order = leaders_first(plan.runs)
    assert [run.combination for run in order] == [0, 1, 2, 3]
    plan = planned("train.learning_rate=1e-3,3e-3", "sample.num_steps=10,20")
    assert [run.combination for run in leaders_first(plan.runs)] == [0, 2, 1, 3]


def test_the_name_follows_from_recipe_grid_and_seeds() -> None:
    name = planned("train.learning_rate=1e-3,3e-3").name
    assert name.startswith("digits-train.learning_rate-")
    assert planned("train.learning_rate=1e-3,3e-3").name == name
    others = [planned("train.learning_rate=1e-3,2e-3"), planned("train.learning_rate=1e-3,3e-3", seeds=2)]
    assert name not in [plan.name for plan in others]
    assert planned("sample.seed=0,1", name="mine").name == "mine"
    assert len(planned(*(f"train.{name}=1" for name in ("images", "batch_size", "lr_decay_images", "seed"))).name) <= 64


def test_every_wrong_value_has_a_line() -> None:
    said: list[str] = []
    with pytest.raises(ConfigError) as error:
        planned("train.learning_rate=1e-3,-1,fast", "sample.num_steps=10,20", said=said)
    lines = [*said, str(error.value)]
    assert len(lines) == 2, "a line per value, not per combination"
    assert "train.learning_rate: input should be greater than 0; got -1" in lines[0]
    assert "'fast'" in lines[1]


def test_a_combination_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sample.num_steps must be at most train.num_timesteps \(20\); got 50"):
        planned("train.num_timesteps=20,100", "sample.num_steps=10,50")


@pytest.mark.parametrize(
    ("grid", "seeds", "words"),
    [
        (["trian.seed=0,1"], 1, "trian.seed: no such stage - did you mean train?"),
        (["train.sed=0,1"], 1, "train.sed: no such setting - did you mean seed?"),
        (["train.seed=0,1"], 2, "train.seed: is an axis of the grid, and --seeds varies it too"),
        ([f"train.seed={','.join(map(str, range(MOST_RUNS + 1)))}"], 1, "makes 1,001 runs; 1,000 are the most"),
    ],
)
def test_refusals(grid: list[str], seeds: int, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        planned(*grid, seeds=seeds)
    assert words in str(error.value)
