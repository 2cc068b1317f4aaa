"""diffusers' UNet2DModel computes what ours does, from an exported folder and into an imported one."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_core.network.unet import UNet, UNetConfig
from flows.exchange import diffusers_unet
from flows.exchange.diffusers_unet import modern_name, tensor_name, unet_config, unet_settings
from flows.exchange.folder import import_folder
from flows.snapshot import load_snapshot
from infra.errors import ConfigError
from tests.flows.exchange.diffusers_folders import NETWORKS, exported, write_snapshot
from tests.oracles.unet import SMALL, randn, with_random_weights


@torch.no_grad()
def largest_difference(ours: UNet, theirs: Any) -> float:
    config = ours.config
    x, t = randn(3, config.in_channels, 8, 8), torch.tensor([0, 7, 999])
    labels = torch.tensor([0, 2, 1]) if config.num_classes else None
    expected = ours(x, t, labels)
    assert float(expected.std()) > 0.1
    return float((theirs(x, t, class_labels=labels).sample - expected).abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_exported_network_is_the_same_function(name: str, tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    folder = exported(tmp_path / "folder", **NETWORKS[name])
    ours = write_snapshot(tmp_path / "again.safetensors", **NETWORKS[name])
    theirs, report = UNet2DModel.from_pretrained(folder / "unet", output_loading_info=True)
    assert not any(report.values()), "every tensor has its place"
    assert largest_difference(ours, theirs.eval()) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_imported_network_is_the_same_function(name: str, tmp_path: Path) -> None:
    from diffusers import DDPMScheduler, UNet2DModel

    settings = unet_settings(replace(SMALL, **NETWORKS[name]), "")
    theirs = UNet2DModel(**{name: value for name, value in settings.items() if not name.startswith("_")})
    with_random_weights(theirs, seed=3).save_pretrained(tmp_path / "folder" / "unet")
    variance = "learned_range" if NETWORKS[name].get("learned_variance") else "fixed_small"
    DDPMScheduler(20, variance_type=variance).save_pretrained(tmp_path / "folder" / "scheduler")

    import_folder(str(tmp_path / "folder"), str(tmp_path / "a.safetensors"))
    ours = load_snapshot(str(tmp_path / "a.safetensors")).network
    assert largest_difference(ours, theirs) < 1e-5
    assert {tensor_name(name) for name in ours.state_dict()} == theirs.state_dict().keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_there_and_back(name: str) -> None:
    config = replace(SMALL, **NETWORKS[name])
    back = unet_config(unet_settings(config, ""), "")
    order = tuple(sorted(config.attention_resolutions, reverse=True))
    assert back == replace(config, attention_resolutions=order)


def test_defaults_are_those_of_diffusers() -> None:
    from diffusers import UNet2DModel

    parameters = inspect.signature(UNet2DModel.__init__).parameters
    theirs = {
        name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for name, parameter in parameters.items()
        if name != "self"
    }
    assert theirs == diffusers_unet._DEFAULTS


def test_published_settings() -> None:
    """Those of google/ddpm-cifar10-32: Ho's network, written by a version that had fewer settings."""
    published = {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.0.4",
        "act_fn": "silu",
        "attention_head_dim": None,
        "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": False,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "in_channels": 3,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-06,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 32,
        "time_embedding_type": "positional",
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    }
    assert unet_config(published, "") == replace(UNetConfig.cifar10(), dropout=0.0)


def test_old_names_of_attention() -> None:
    assert modern_name("mid_block.attentions.0.proj_attn.bias") == "mid_block.attentions.0.to_out.0.bias"
    assert modern_name("mid_block.attentions.0.query.weight") == "mid_block.attentions.0.to_q.weight"
    assert modern_name("mid_block.attentions.0.to_q.weight") == "mid_block.attentions.0.to_q.weight"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"down_block_types": ["DownBlock2D", "ResnetDownsampleBlock2D", "DownBlock2D"]}, "down_block_types"),
    ({"down_block_types": ["AttnDownBlock2D"]}, "down_block_types is .*we can represent 3 of DownBlock2D and Attn"),
    ({"down_block_types": "DownBlock2D"}, "down_block_types"),
    ({"up_block_types": ["UpBlock2D", "SkipUpBlock2D", "UpBlock2D"]}, "up_block_types"),
    ({"up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"]}, "up_block_types .*from the last to the first"),
    ({"mid_block_type": None}, 'mid_block_type is null; we can represent "UNetMidBlock2D" only'),
    ({"add_attention": False}, "add_attention is false; we can represent true only"),
    ({"mid_block_scale_factor": 2}, "mid_block_scale_factor is 2; we can represent 1 only"),
    ({"flip_sin_to_cos": True}, "flip_sin_to_cos is true; we can represent false only"),
    ({"flip_sin_to_cos": ...}, "flip_sin_to_cos is true"),
    ({"freq_shift": 0}, "freq_shift is 0; we can represent 1 only"),
    ({"freq_shift": ...}, "freq_shift is 0"),
    ({"downsample_padding": 1}, "downsample_padding is 1; we can represent 0 only"),
    ({"norm_eps": 1e-5}, "norm_eps is 1e-05; we can represent 1e-06 only"),
    ({"norm_eps": ...}, "norm_eps is 1e-05"),
    ({"act_fn": "gelu"}, 'act_fn is "gelu"; we can represent "silu" only'),
    ({"time_embedding_type": "fourier"}, 'time_embedding_type is "fourier"'),
    ({"time_embedding_dim": 48}, "time_embedding_dim is 48; we can represent null or 32"),
    ({"downsample_type": "resnet"}, 'downsample_type is "resnet"'),
    ({"upsample_type": "resnet"}, 'upsample_type is "resnet"'),
    ({"class_embed_type": "timestep"}, 'class_embed_type is "timestep"; we can represent null only'),
    ({"center_input_sample": True}, "center_input_sample is true"),
    ({"resnet_time_scale_shift": "ada_group"}, 'resnet_time_scale_shift is "ada_group".*default or scale_shift'),
    ({"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": None}, "attn_norm_num_groups is null"),
    ({"attn_norm_num_groups": 2}, "attn_norm_num_groups is 2; we can represent norm_num_groups, 4"),
    ({"num_class_embeds": 0}, "num_class_embeds is 0; we can represent whole numbers"),
    ({"in_channels": 1}, "out_channels is 3; we can represent in_channels, 1, or twice that"),
    ({"out_channels": 4}, "out_channels is 4; we can represent in_channels, 3, or twice that"),
    ({"block_out_channels": [8, 12, 16]}, "block_out_channels is .*whole multiples of the first"),
    ({"block_out_channels": []}, "block_out_channels"),
    ({"block_out_channels": [8, 16, "16"]}, "block_out_channels"),
    ({"block_out_channels": [0, 0, 0]}, "block_out_channels"),
    ({"attention_head_dim": 3}, "attention_head_dim is 3; we can represent null, or a divisor"),
    ({"attention_head_dim": 32}, "attention_head_dim is 32"),
    ({"attention_head_dim": 0}, "attention_head_dim is 0"),
    (
        {"block_out_channels": [8, 16, 32], "attention_head_dim": 8},
        "attention_head_dim is 8.*equal channels, here 16, 32",
    ),
    ({"sample_size": None}, "sample_size is null; we can represent one whole number"),
    ({"sample_size": [8, 16, 8]}, r"sample_size is \[8, 16, 8\]"),
    ({"sample_size": [8, 6]}, "is not a shape of our network .image_size must be divisible by 4"),
    ({"sample_size": 6}, "is not a shape of our network .image_size must be divisible by 4"),
    ({"norm_num_groups": 3, "attn_norm_num_groups": None}, "norm_groups must divide base_channels; got 3 and 8"),
    ({"layers_per_block": 65}, "layers_per_block is 65; we can represent whole numbers from 1 to 64"),
    ({"dropout": 1.0}, r"dropout must lie in \[0, 1\); got 1.0"),
    ({"dropout": None}, "dropout is null"),
    ({"encoder_hid_dim": 3}, "encoder_hid_dim is not a setting of UNet2DModel that we know; it is 3"),
    ({"_class_name": "UNet2DConditionModel"}, '_class_name is "UNet2DConditionModel"; we can represent UNet2DModel'),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_our_network_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    settings = unet_settings(SMALL, "") | changes
    with pytest.raises(ConfigError, match=f"^config.json: .*{message}") as caught:
        unet_config({name: value for name, value in settings.items() if value is not ...}, "config.json")
    assert "\n" not in str(caught.value)


def test_two_equal_sizes_and_heads() -> None:
    settings = unet_settings(SMALL, "")
    assert unet_config(settings | {"sample_size": [8, 8]}, "").image_size == 8
    assert unet_config(settings | {"sample_size": [8, 16]}, "").image_size == (8, 16)
    for each, heads in ((16, 1), (4, 4), (None, 1)):
        assert unet_config(settings | {"attention_head_dim": each}, "").num_heads == heads


def test_heads_of_several_sizes_cannot_be_exported() -> None:
    config = replace(SMALL, num_heads=2, attention_resolutions=(8,))
    with pytest.raises(ConfigError, match=r"^a: 2 heads over 8, 16 channels have no one attention_head_dim"):
        unet_settings(config, "a")
