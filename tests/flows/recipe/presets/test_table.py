"""Every preset is a valid recipe that is found by its name."""

import re

import pytest

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.celebahq256 import CELEBAHQ256
from flows.recipe.presets.cifar10 import CIFAR10
from flows.recipe.presets.digits import DIGITS
from flows.recipe.presets.fashion_mnist import FASHION_MNIST
from flows.recipe.presets.folder import FOLDER
from flows.recipe.presets.large_images import large_images
from flows.recipe.presets.lsun256 import LSUN256
from flows.recipe.presets.preset import Preset
from flows.recipe.presets.showcase import SHOWCASE
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


def test_the_table_lists_every_preset_under_its_name() -> None:
    every = (DIGITS, SHOWCASE, FASHION_MNIST, FOLDER, CIFAR10, CELEBAHQ256, LSUN256)
    assert dict(PRESETS) == {one.name: one for one in every}


def test_the_recipes_of_large_images_differ_in_their_data_and_length_alone() -> None:
    """Ho et al. 2020, appendix B: 0.5 million steps of 64 images for CelebA-HQ, 1.2 for LSUN Church."""
    shared = large_images(steps=1, holdout=0.5)
    for one in (CELEBAHQ256, LSUN256):
        train = one.config.train.model_copy(update={"images": shared.train.images})
        assert train == shared.train
        assert one.config.sample == shared.sample
