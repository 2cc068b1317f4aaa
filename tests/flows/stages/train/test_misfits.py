"""A network that does not fit is refused by the names of the settings, and the line's own options make it fit."""

import shlex
from dataclasses import replace
from typing import Any

import pytest
import torch

from ddpm_core.choices import Parameterisation, Variance
from ddpm_core.network.unet import UNet
from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config
from flows.snapshot import TrainedNetwork, make_schedule
from flows.stages.train.misfits import check_fit, misfits, remarks
from infra.errors import ConfigError
from tests.flows.exchange.diffusers_folders import LINEAR, NETWORKS
from tests.oracles.unet import SMALL

BASE = (
    "prepare.kind=folder",
    "prepare.source=/x",
    "train.num_timesteps=20",
    "sample.num_steps=5",
    'evaluate.likelihood=["bound"]',
)


def trained(parameterisation: Parameterisation = Parameterisation.EPS, **network: Any) -> TrainedNetwork:
    config = replace(SMALL, **network)
    variance = Variance.LEARNED_RANGE if config.learned_variance else None
    return TrainedNetwork(UNet(config, seed=None), make_schedule(**LINEAR), parameterisation, variance)


def made(*settings: str) -> PipelineConfig:
    return load_config("digits", None, [*BASE, *settings])


def refusal(network: TrainedNetwork, config: PipelineConfig) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check_fit(network, "NET", config.train, config.prepare.image_size, config.prepare.channels)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", NETWORKS)
def test_the_options_of_the_line_make_every_network_fit(name: str) -> None:
    network = trained(**NETWORKS[name])
    options = shlex.split(refusal(network, made()).remedy)
    assert set(options[::2]) == {"--set"}
    config = made(*options[1::2])
    check_fit(network, "NET", config.train, config.prepare.image_size, config.prepare.channels)
    shape = config.train.unet(
        config.prepare.image_size, config.prepare.channels, network.network.config.num_classes - 1
    )
    with torch.device("meta"):
        wanted = {name: weight.shape for name, weight in UNet(shape, seed=None).state_dict().items()}
    assert {name: weight.shape for name, weight in network.network.state_dict().items()} == wanted


FITTING = (
    "prepare.channels=3",
    "train.base_channels=8",
    "train.channel_mults=[1,2,2]",
    "train.num_res_blocks=2",
    "train.attention_resolutions=[4]",
    "train.norm_groups=4",
)


@pytest.mark.parametrize(
    ("setting", "line", "remedy"),
    [
        ("prepare.channels=1", "prepare.channels is 1 here, 3 there", "prepare.channels=3"),
        ("train.base_channels=16", "train.base_channels is 16 here, 8 there", "train.base_channels=8"),
        ("train.channel_mults=[1,2,3]", "is [1,2,3] here, [1,2,2] there", "train.channel_mults='[1,2,2]'"),
        ("train.num_res_blocks=1", "train.num_res_blocks is 1 here, 2 there", "train.num_res_blocks=2"),
        ("train.norm_groups=2", "train.norm_groups is 2 here, 4 there", "train.norm_groups=4"),
        ("train.num_heads=2", "train.num_heads is 2 here, 1 there", "train.num_heads=1"),
        ("train.scale_shift_norm=true", "is true here, false there", "train.scale_shift_norm=false"),
        ("train.attention_resolutions=[8]", "is [8] here, [4] there", "train.attention_resolutions='[4]'"),
        ("train.class_conditional=true", "is true here, false there", "train.class_conditional=false"),
        ("train.parameterisation=v", "train.parameterisation is v here, eps there", "train.parameterisation=eps"),
        ("train.num_timesteps=30", "train.num_timesteps is 30 here, 20 there", "train.num_timesteps=20"),
    ],
)
def test_each_setting_is_named_with_both_values(setting: str, line: str, remedy: str) -> None:
    error = refusal(trained(), made(*FITTING, setting))
    assert line in error.cause
    assert error.remedy == f"--set {remedy}"
    assert (error.item, error.exit_code) == ("train.initial NET", 2)


@pytest.mark.parametrize(("setting", "loss"), [("hybrid", "simple"), ("bound", "")])
def test_a_learned_variance_takes_its_loss_along(setting: str, loss: str) -> None:
    error = refusal(trained(), made(*FITTING, "train.variance=learned", f"train.loss={setting}"))
    assert error.remedy == "--set train.variance=fixed" + (f" --set train.loss={loss}" if loss else "")


def test_a_network_of_the_step_before_is_refused() -> None:
    error = refusal(trained(Parameterisation.X_PREV), made(*FITTING))
    assert error.cause == "predicts x_prev, which training does not support"


def test_another_size_fits_if_the_same_levels_attend() -> None:
    """No weight depends on the size, and the line says so."""
    larger = made(*FITTING, "prepare.image_size=16", "train.attention_resolutions=[8]")
    assert misfits(trained(), larger.train, 16, 3) == []
    assert remarks(trained(), larger.train, 16, 0)[0] == "it was trained on images of 8x8 pixels, here they have 16x16"
    same = made(*FITTING, "prepare.image_size=16")
    (one,) = misfits(trained(), same.train, 16, 3)
    assert one == ("train.attention_resolutions", [4], [8])
    (one,) = misfits(trained(), made(*FITTING).train.model_copy(update={"channel_mults": [1, 2, 2]}), 6, 3)
    assert one == ("prepare.image_size", 6, 8)


def test_nothing_is_said_of_a_network_that_fits_in_all() -> None:
    config = made(*FITTING, "train.beta_start=0.001", "train.beta_end=0.3")
    assert misfits(trained(), config.train, 8, 3) == []
    assert remarks(trained(), config.train, 8, 10) == []


def test_another_schedule_is_said() -> None:
    (line,) = remarks(trained(), made(*FITTING, "train.schedule=cosine").train, 8, 10)
    middle = make_schedule(**LINEAR | {"kind": "cosine"}).alphas_cumprod[10], make_schedule(**LINEAR).alphas_cumprod[10]
    assert line.endswith(f"alpha-bar in the middle is {middle[0]:.3g} here, {middle[1]:.3g} there")


def test_classes_are_said() -> None:
    config = made(*FITTING, "train.class_conditional=true", "train.beta_start=0.001", "train.beta_end=0.3").train
    network = trained(num_classes=4)
    assert remarks(network, config, 8, 3) == ["each of the 3 classes starts as the network's class of the same number"]
    assert remarks(network, config, 8, 7) == [
        "it has 3 classes, the data 7: their embeddings start afresh, that of no label is kept"
    ]
