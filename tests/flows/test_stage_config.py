"""A setting that a config calls unused changes neither its stage's key nor a byte of its output."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from ddpm_core.choices import Choice
from flows.metrics.choices import MetricName
from flows.recipe.settings import load_config
from flows.stage import Stage
from flows.stage_config import StageConfig
from flows.stages.table import STAGES
from tests.conftest import TinyRun, revised
from tests.flows.toggles import toggled
from tests.tiny import TINY

# Two steps; betas small enough for every schedule of 20 timesteps.
SMALL = ("train.images=32", "train.batch_size=16", "train.beta_end=0.01", "train.channel_mults=[1]")
SMALL += ("train.attention_resolutions=[8]", "train.num_res_blocks=1", "sample.count=4", "sample.batch_size=4")
SMALL += ("train.watch_share=0",)  # nothing is measured beside two steps
BASE = load_config("digits", None, [*TINY, *SMALL])
# A config that does not use it refuses every other value of it.
REFUSED = {"eta"}


def options(config: StageConfig, name: str) -> list[Any]:
    """Every option of a choice, of a list of choices or of a switch, the config's own first; none of other settings."""
    match value := getattr(config, name):
        case bool():
            kinds: list[Any] = [True, False]
        case Choice():
            kinds = list(type(value))
        case [Choice(), *_]:
            kinds = [value, *([option] for option in type(value[0]))]
        case _:
            kinds = []
    return sorted(kinds, key=lambda option: option != value)


def used_by(option: bool | Choice | list[Choice]) -> set[str]:
    """The settings that an option uses."""
    chosen = option if isinstance(option, list) else [option]
    return {name for one in chosen if isinstance(one, Choice) for name in one.uses}


def with_option(config: StageConfig, name: str, option: object) -> StageConfig | None:
    """The config with an option, and with other choices beside it if it needs them; None if it is never valid."""
    others = [other for other in type(config).model_fields if other != name and options(config, other)]
    for beside in product(*(options(config, other) for other in others)):
        try:
            return revised(config, {name: option, **dict(zip(others, beside, strict=True))})
        except ValidationError:
            continue
    return None


# The pixels of the tiny run have neither classes nor places.
OF_INCEPTION = {MetricName.INCEPTION_SCORE, MetricName.SFD}


def cases() -> Iterator[tuple[Stage[Any, Any], StageConfig]]:
    """Every stage with a config for each switch, and for each option of a choice that uses settings."""
    for stage in STAGES:
        config = getattr(BASE, stage.name, None)
        for name in type(config).model_fields if config else ():
            known = options(config, name)
            if any(isinstance(option, bool) or used_by(option) for option in known):
                chosen = (with_option(config, name, option) for option in known)
                yield from (
                    (stage, one)
                    for one in chosen
                    if one is not None
                    and one.unused() - REFUSED
                    and not OF_INCEPTION & set(getattr(one, "metrics", ()))
                    and not getattr(one, "compile", False)  # it needs a compiler and minutes
                )


CASES = {(stage.name, repr(config)): (stage, config) for stage, config in cases()}
INPUTS = {"prepare": "dataset", "train": "snapshot", "sample": "samples"}


def others_for_unused(config: StageConfig) -> StageConfig:
    for name in sorted(config.unused() - REFUSED):
        config = toggled(config, name)
    return config


def differences(one: StageConfig, other: StageConfig) -> str:
    return " ".join(f"{name}={value}" for name, value in one if value != getattr(other, name)) or "as it is"


@pytest.mark.parametrize(
    ("stage", "config"),
    CASES.values(),
    ids=[f"{stage.name} {differences(config, getattr(BASE, stage.name))}" for stage, config in CASES.values()],
)
def test_settings_without_effect_leave_key_and_bytes_as_they_are(
    stage: Stage[Any, Any], config: StageConfig, tiny_run: TinyRun
) -> None:
    other = others_for_unused(config)
    assert {name for name, value in config if value != getattr(other, name)} == config.unused() - REFUSED
    assert other.key_settings() == config.key_settings()
    inputs = [getattr(tiny_run, INPUTS[name]) for name in stage.inputs]
    context = replace(tiny_run.context, force=True)
    assert stage.run(other, *inputs, context).digest == stage.run(config, *inputs, context).digest


def test_every_setting_that_some_option_ignores_is_among_them() -> None:
    ignored = {name for _, config in CASES.values() for name in config.unused()}
    used = {
        name
        for stage in STAGES
        if (config := getattr(BASE, stage.name, None))
        for field in type(config).model_fields
        for option in options(config, field)
        for name in used_by(option)
    }
    assert used <= ignored | REFUSED
    assert {"min_snr_gamma", "label_dropout", "beta_start", "beta_end", "clip_x_start", "variance"} <= ignored


def test_what_is_refused_has_no_other_value() -> None:
    assert BASE.sample.unused() >= REFUSED
    for name in REFUSED:
        with pytest.raises(AssertionError, match="no other value"):
            toggled(BASE.sample, name)


class Inner(Choice):
    """A choice that matters only beside one option of another."""

    PLAIN = "plain", "Uses nothing"
    FANCY = "fancy", "Uses a setting", ("strength",)


class Outer(Choice):
    """The other choice."""

    OFF = "off", "Uses nothing"
    ON = "on", "Uses the inner choice", ("inner",)


class Nested(StageConfig):
    """The inner choice stands first, so that the order of the settings decides nothing."""

    strength: int = 1
    inner: Inner = Inner.FANCY
    outer: Outer = Outer.ON


def test_a_choice_without_effect_uses_nothing_wherever_it_stands() -> None:
    assert Nested().unused() == set()
    assert Nested(inner=Inner.PLAIN).unused() == {"strength"}
    assert Nested(outer=Outer.OFF).unused() == {"inner", "strength"}
    assert Nested(outer=Outer.OFF, strength=5).key_settings() == {"outer": "off"}
