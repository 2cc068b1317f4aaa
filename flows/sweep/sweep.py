"""A sweep that is open: its runs by name, and the table of those that are finished."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.comparison.trial import Trial, of_latest_rules
from flows.recipe.identity import run_name
from flows.recipe.run import find_given, key_of_run, open_root
from flows.recipe.sweep_settings import SweepSettings
from flows.root import local_folder
from flows.run import open_run, trial_of
from flows.runtime.settings import RunSettings
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import find_data_key
from flows.sweep.files import FOLDER
from flows.sweep.grid import combination_text
from flows.sweep.outcome import SweepRun
from flows.sweep.plan import SweepPlan
from flows.sweep.table import SweepTable, make_row, make_table, without_earlier
from infra.errors import ConfigError, InputError, IntegrityError
from infra.storage.store import Store


@dataclass(kw_only=True)
class Sweep:
    """A sweep at work.

    Attributes:
        plan: Its combinations.
        settings: The settings that all its runs share.
        choices: Its seeds, ranking figure and number of runs at a time.
        store: The store of all outputs.
        runs: Its runs, combination by combination.
        say: Receives a line per event.
        headlines: The names of the figures that people read first, in the order of the runs' own tables.
        trials: The runs that were read, by name.
    """

    plan: SweepPlan
    settings: RunSettings
    choices: SweepSettings
    store: Store
    runs: Sequence[SweepRun]
    say: Callable[[str], None]
    headlines: dict[str, None] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The local folder of the runs' settings and logs."""
        return local_folder(self.store.uri) / FOLDER / self.plan.name / "runs"

    @property
    def finished_keys(self) -> list[str]:
        """The keys of the runs that are finished."""
        return [run.key for run in self.runs if run.is_finished]

    def words(self, run: SweepRun) -> str:
        """Return the settings of the grid and the seed that tell a run from the others."""
        seeds = list(run.planned.seeds.items())[:1]
        return combination_text({**self.plan.combinations[run.planned.combination], **dict(seeds)})

    def read(self, run: SweepRun) -> bool:
        """Read the figures of a run; return False if it has no whole record."""
        try:
            opened = open_run(run.name, self.store.uri)
            if opened.name != run.name:
                return False
            self.trials[run.name] = trial_of(opened, run.name)
        except (InputError, IntegrityError):
            return False
        self.headlines |= dict.fromkeys(figure.name for figure in opened.figures.figures if figure.headline)
        return True

    def table(self, by: str) -> SweepTable:
        """Return the table of the runs that are finished; those of an earlier release's rules have no part in it."""
        finished = [self.trials[run.name] for run in self.runs if run.is_finished]
        ranked = {trial.name: trial for trial in of_latest_rules(finished)}
        rows = []
        for number, combination in enumerate(self.plan.combinations):
            own = [run for run in self.runs if run.planned.combination == number]
            trials = [ranked[run.name] for run in own if run.name in ranked]
            rows.append(make_row(combination, len(own), trials))
        table = make_table([axis.path for axis in self.plan.axes], rows, list(self.headlines), by)
        return without_earlier(table, [trial.name for trial in finished if trial.name not in ranked])

    def checked_table(self) -> tuple[SweepTable, ConfigError | None]:
        """Return the table ranked as the user wishes, else by the first figure that can, with the error."""
        try:
            return self.table(self.choices.by), None
        except ConfigError as error:
            return self.table(""), error


def open_sweep(plan: SweepPlan, settings: RunSettings, choices: SweepSettings, say: Callable[[str], None]) -> Sweep:
    """Find the name of every run, which takes one listing of the source; nothing is run or written.

    Combinations that lead to the same run, because a setting has no effect beside another, become one row.

    Raises:
        DdpmError: If the source or a file that a recipe names cannot be read.
    """
    store = open_root(plan.runs[0].config, settings)
    data_keys: dict[str, str] = {}
    found: list[SweepRun] = []
    for planned in plan.runs:
        data = _data_key(planned.config.prepare, store, data_keys)
        key = key_of_run(planned.config, data, find_given(planned.config, store))
        found.append(SweepRun(planned=planned, key=key, name=run_name(planned.config, plan.preset, key)))
    plan, runs = _without_repetitions(plan, found, say)
    return Sweep(plan=plan, settings=settings, choices=choices, store=store, runs=runs, say=say)


def _data_key(config: PrepareConfig, store: Store, known: dict[str, str]) -> str:
    identity = json.dumps([config.source, config.test_source, config.key_settings()], sort_keys=True, default=str)
    if identity not in known:
        known[identity] = find_data_key(config, store.uri)
    return known[identity]


def _without_repetitions(
    plan: SweepPlan, runs: Sequence[SweepRun], say: Callable[[str], None]
) -> tuple[SweepPlan, list[SweepRun]]:
    """Drop runs that occur before, and combinations without a run of their own; say which."""
    seen: dict[str, int] = {}
    kept: dict[int, list[SweepRun]] = {}
    same: dict[int, int] = {}
    for run in runs:
        number = run.planned.combination
        if run.key in seen:
            same.setdefault(number, seen[run.key])
        else:
            seen[run.key] = number
            kept.setdefault(number, []).append(run)
    for number, other in same.items():
        if number not in kept:
            first, second = (combination_text(plan.combinations[each]) for each in (number, other))
            say(f"{first} is the same run as {second}: it has one row")
    places = {number: place for place, number in enumerate(kept)}
    left = [
        replace(run, planned=replace(run.planned, combination=places[number]))
        for number, own in kept.items()
        for run in own
    ]
    return replace(
        plan, combinations=[plan.combinations[number] for number in kept], runs=[r.planned for r in left]
    ), left
