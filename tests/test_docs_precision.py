"""docs/precision.md: its formats, rules and numbers are those of the code."""

import re
from pathlib import Path
from typing import get_args

import pytest

from ddpm_core.loss_scale import BACKOFF, GROWTH, GROWTH_STEPS, INITIAL_SCALE
from flows.recipe.settings import load_config
from flows.stage_config import Dtype
from flows.stages.train import skips
from flows.stages.train.config import TrainConfig
from infra.compute.hardware import resolve_dtype
from infra.errors import ConfigError

PAGE = (Path(__file__).parent.parent / "docs" / "precision.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", PAGE.partition("| --- |")[2].partition("<!-- end")[0], re.M))


def test_every_format_has_a_row() -> None:
    assert tuple(ROWS) == get_args(Dtype)


@pytest.mark.parametrize("name", [name for name in get_args(Dtype) if name != "auto"])
def test_a_processor_refuses_what_the_table_says(name: str) -> None:
    if ROWS[name] == "refused":
        with pytest.raises(ConfigError):
            resolve_dtype(name, "cpu", [])
    else:
        assert resolve_dtype(name, "cpu", []) == name


def test_the_numbers() -> None:
    assert f"starts at {INITIAL_SCALE:,.0f}" in PROSE
    assert (GROWTH, BACKOFF) == (2, 0.5)
    assert f"halves the scale; {GROWTH_STEPS:,} steps in a row without a skip double it" in PROSE
    assert skips.SKIPS_IN_A_ROW == 10
    assert "the ten in a row that end a diverged run" in PROSE
    assert skips._STEPS_BETWEEN_LOOKS == 100
    assert "at every hundredth step and at the last one" in PROSE
    assert TrainConfig().batch_size == 128
    assert "a batch of 128 on four workers, each has 32, and `train.microbatch=8` cuts them into four passes" in PROSE
    assert TrainConfig().deterministic


def test_the_settings_of_the_page_are_settings() -> None:
    named = re.findall(r"`((?:train|sample)\.\w+=\w+)`", PAGE)
    assert len(named) >= 4
    for setting in named:
        load_config("digits", None, [setting])
