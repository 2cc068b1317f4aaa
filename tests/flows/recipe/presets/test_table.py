"""Every preset is a valid recipe that is found by its name."""

import re

import pytest

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.preset import Preset
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.settings import load_config
from flows.runtime.settings import RunSettings


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_itself(name: str) -> None:
    config = load_config(name, None, ())
    assert config == preset(name) == PRESETS[name].config
    assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("one", PRESETS.values(), ids=PRESETS)
def test_every_preset_can_name_runs_and_says_its_data(one: Preset) -> None:
    assert RunSettings(preset=one.name).preset == one.name
    assert re.fullmatch(r"[A-Za-z].*\.", one.about)
