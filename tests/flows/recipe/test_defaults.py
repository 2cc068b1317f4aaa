"""A default is no part of a key, so that outputs of the old one would be taken for those of the new one."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from flows.stage_config import StageConfig
from flows.stages.evaluate import evaluation
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.prepare import preparation
from flows.stages.prepare.config import PrepareConfig
from flows.stages.sample import sampling
from flows.stages.sample.config import SampleConfig
from flows.stages.train import training
from flows.stages.train.config import TrainConfig

DEFAULTS = Path(__file__).with_name("defaults.json")
STAGES: dict[str, tuple[type[StageConfig], ModuleType]] = {
    "prepare": (PrepareConfig, preparation),
    "train": (TrainConfig, training),
    "sample": (SampleConfig, sampling),
    "evaluate": (EvaluateConfig, evaluation),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_default_that_changes_needs_a_new_format_version(name: str) -> None:
    config, module = STAGES[name]
    known, now = json.loads(DEFAULTS.read_text())[name], config().result_settings()
    before = known["defaults"]
    changed = {
        setting: (before[setting], now[setting]) for setting in before.keys() & now if before[setting] != now[setting]
    }
    if changed and known["format_version"] == module.FORMAT_VERSION:
        pytest.fail(f"defaults of {name} changed ({changed}): raise its FORMAT_VERSION")
    current = {"format_version": module.FORMAT_VERSION, "defaults": now}
    assert current == known, f"write these into {DEFAULTS.name}: {json.dumps(current)}"
