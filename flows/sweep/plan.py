"""The plan of a sweep: every combination with every seed as a run, checked before any of them starts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.comparison.trial import SEEDS, TRAINING_SEED
from flows.recipe.config import PipelineConfig
from flows.recipe.identity import recipe_key
from flows.recipe.settings import put, validated
from flows.recipe.sweep_settings import MOST_RUNS, SweepSettings
from flows.stage_config import SEED_LIMIT, StageConfig
from flows.sweep.grid import OPTION, Axis, Combination, check_axes, combinations, parse_axes
from infra.digests import canonical_json, sha256
from infra.errors import ConfigError

_OF_NETWORKS = ("prepare", "train")
_SHOWN_DIGITS = 8
_LONGEST_NAME = 64


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run of a sweep.

    Attributes:
        combination: The number of its combination.
        seeds: Its seeds by their full names; empty if the sweep varies none.
        config: All its settings.
    """

    combination: int
    seeds: Mapping[str, int]
    config: PipelineConfig

    @property
    def network(self) -> str:
        """A text that two runs share if they train the same network on the same source."""
        stages: list[StageConfig] = [getattr(self.config, stage) for stage in _OF_NETWORKS]
        parts = [stage.model_dump(mode="json", exclude=_execution(stage)) for stage in stages]
        return json.dumps(parts, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The plan of a sweep.

    Attributes:
        name: The sweep's name.
        preset: The recipe that the settings started from.
        axes: The grid.
        varied: The seeds that differ among the runs of a combination, by their full names; empty for a single seed.
        combinations: The combinations, in the order of the grid.
        runs: The runs, combination by combination.
    """

    name: str
    preset: str
    axes: Sequence[Axis]
    varied: Sequence[str]
    combinations: Sequence[Combination]
    runs: Sequence[PlannedRun]


def plan_sweep(
    base: PipelineConfig, preset: str, name: str, settings: SweepSettings, say: Callable[[str], None]
) -> SweepPlan:
    """Plan a sweep around a recipe; nothing is read or started.

    The seeds of a combination count up from those of the recipe. If the grid changes the data or the training, the seed
    of training is among them, since two trainings of one recipe differ as well. Otherwise all runs share one network.

    Args:
        base: The settings that every run has unless the grid changes them.
        preset: The name of the recipe that they started from.
        name: The sweep's name; empty for one that follows from recipe, grid and seeds.
        settings: The grid and the seeds.
        say: Receives a line for every wrong value but the last.

    Raises:
        ConfigError: If the grid is wrong, or a combination contradicts itself; it has the line of the last wrong value.
    """
    axes = parse_axes(settings.grid)
    check_axes(axes, base)
    varied = _varied(axes) if settings.seeds > 1 else ()
    if twice := next((axis.path for axis in axes if axis.path in varied), ""):
        raise ConfigError(
            "is an axis of the grid, and --seeds varies it too", item=twice, remedy="leave one of the two"
        )
    found = combinations(axes)
    if len(found) * settings.seeds > MOST_RUNS:
        raise ConfigError(
            f"makes {len(found) * settings.seeds:,} runs; {MOST_RUNS:,} are the most", item=OPTION, remedy="split it"
        )
    configs = _configs(base, found, say)
    runs = []
    for number, config in enumerate(configs):
        for seed in range(settings.seeds):
            seeds = {path: _seed(config, path, seed) for path in varied}
            runs.append(PlannedRun(combination=number, seeds=seeds, config=with_settings(config, seeds)))
    return SweepPlan(
        name=name or _name(base, preset, axes, settings.seeds),
        preset=preset,
        axes=axes,
        varied=varied,
        combinations=found,
        runs=runs,
    )


def leaders_first(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Put the first run of each network before the others, which then find it trained instead of waiting for it."""
    seen: set[str] = set()
    leaders, others = list[PlannedRun](), list[PlannedRun]()
    for run in runs:
        (others if run.network in seen else leaders).append(run)
        seen.add(run.network)
    return leaders + others


def with_settings(config: PipelineConfig, settings: Mapping[str, Any]) -> PipelineConfig:
    """Return a config with other values, checked as those of `--set` are.

    Raises:
        ConfigError: If a setting is unknown, or a value is wrong or contradicts another.
    """
    values = config.model_dump()
    for path, value in settings.items():
        put(values, path, value)
    return validated(PipelineConfig, values)


def _configs(base: PipelineConfig, found: Sequence[Combination], say: Callable[[str], None]) -> list[PipelineConfig]:
    configs, errors = [], dict[str, ConfigError]()
    for combination in found:
        try:
            configs.append(with_settings(base, combination))
        except ConfigError as error:
            errors.setdefault(str(error), error)
    if errors:
        *others, last = errors
        for line in others:
            say(line)
        raise errors[last]
    return configs


def _varied(axes: Sequence[Axis]) -> tuple[str, ...]:
    trains = any(axis.path.startswith(tuple(f"{stage}." for stage in _OF_NETWORKS)) for axis in axes)
    return (TRAINING_SEED, *SEEDS) if trains else SEEDS


def _seed(config: PipelineConfig, path: str, number: int) -> int:
    stage, _, name = path.partition(".")
    return int((getattr(getattr(config, stage), name) + number) % (SEED_LIMIT + 1))


def _name(base: PipelineConfig, preset: str, axes: Sequence[Axis], seeds: int) -> str:
    identity = [preset, recipe_key(base), [[axis.path, list(axis.values)] for axis in axes], seeds]
    end = f"-{sha256(canonical_json(identity))[:_SHOWN_DIGITS]}"
    start = "-".join([preset, *(axis.path for axis in axes)])
    return start[: _LONGEST_NAME - len(end)] + end


def _execution(stage: StageConfig) -> set[str]:
    return {name for name in type(stage).model_fields if stage.role(name) == "execution"}
