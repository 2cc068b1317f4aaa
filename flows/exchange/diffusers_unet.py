"""Our U-Net in diffusers' words, and back: the settings of a UNet2DModel and the names of its tensors.

Its tensors are ours under other names. Settings that our network does not have are refused.
"""

import re

from ddpm_core.network.image_size import ImageSize, image_sides, image_size_of
from ddpm_core.network.unet_config import UNetConfig
from flows.exchange.foreign_settings import VERSION, ForeignSettings, Settings
from infra.errors import ConfigError

_MOST_LAYERS = 64

# Settings of which our network is one case.
_CASES: Settings = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "freq_shift": 1,
    "flip_sin_to_cos": False,
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_padding": 0,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "norm_eps": 1e-6,
    "add_attention": True,
    "class_embed_type": None,
}
# diffusers' defaults for settings that a folder leaves out.
_DEFAULTS: Settings = _CASES | {
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "downsample_padding": 1,
    "norm_eps": 1e-5,
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "time_embedding_dim": None,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "dropout": 0.0,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "resnet_time_scale_shift": "default",
    "num_class_embeds": None,
    "num_train_timesteps": None,  # of a learned time embedding, which is refused
}
_NAMES = {
    "time_1": "time_embedding.linear_1",
    "time_2": "time_embedding.linear_2",
    "down": "down_blocks",
    "up": "up_blocks",
    "middle_1": "mid_block.resnets.0",
    "middle_attention": "mid_block.attentions.0",
    "middle_2": "mid_block.resnets.1",
    "norm_out": "conv_norm_out",
    "blocks": "resnets",
    "norm_1": "norm1",
    "conv_1": "conv1",
    "time_projection": "time_emb_proj",
    "norm_2": "norm2",
    "conv_2": "conv2",
    "shortcut": "conv_shortcut",
    "norm": "group_norm",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "project_out": "to_out.0",
}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def tensor_name(ours: str) -> str:
    """The name that diffusers gives to one of our tensors."""
    resize = "downsamplers.0" if ours.startswith("down.") else "upsamplers.0"
    return ".".join(resize if part == "resize" else _NAMES.get(part, part) for part in ours.split("."))


def modern_name(theirs: str) -> str:
    """A tensor's name today: older diffusers called the parts of an attention otherwise."""
    return re.sub(r"\.(query|key|value|proj_attn)\.(weight|bias)$", lambda m: f".{_OLD_ATTENTION[m[1]]}.{m[2]}", theirs)


def unet_settings(config: UNetConfig, item: str) -> Settings:
    """The settings of a UNet2DModel that is our network.

    Raises:
        ConfigError: If its attentions differ in channels a head, which diffusers has one setting for.
    """
    widths = [config.base_channels * mult for mult in config.channel_mults]
    attends = [size in config.attention_resolutions for size in config.resolutions]
    attended = {width for width, there in zip(widths, attends, strict=True) if there} | {widths[-1]}
    if config.num_heads > 1 and len(attended) > 1:
        raise ConfigError(
            f"{config.num_heads} heads over {', '.join(map(str, sorted(attended)))} channels have no one "
            "attention_head_dim, which is diffusers' only setting for them",
            item=item,
        )
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": VERSION,
        **_CASES,
        "sample_size": config.image_size if isinstance(config.image_size, int) else list(config.image_size),
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": ["AttnDownBlock2D" if there else "DownBlock2D" for there in attends],
        "up_block_types": ["AttnUpBlock2D" if there else "UpBlock2D" for there in reversed(attends)],
        "block_out_channels": widths,
        "layers_per_block": config.num_res_blocks,
        "dropout": config.dropout,
        # None is one head over all channels, whatever their number.
        "attention_head_dim": None if config.num_heads == 1 else widths[-1] // config.num_heads,
        "norm_num_groups": config.norm_groups,
        # Without it, scale_shift would leave out the norm of the attention in the middle.
        "attn_norm_num_groups": config.norm_groups,
        "resnet_time_scale_shift": "scale_shift" if config.scale_shift_norm else "default",
        "num_class_embeds": config.num_classes or None,
    }


def unet_config(given: Settings, item: str) -> UNetConfig:
    """The shape of our network that a UNet2DModel's settings describe.

    Raises:
        ConfigError: If our network has no such shape; names the setting.
    """
    settings = ForeignSettings(given, _DEFAULTS, "UNet2DModel", item)
    settings.check_cases(_CASES)
    size, widths = _size(settings), _widths(settings)
    attends = _attends(settings, len(widths))
    channels, groups = settings.whole("in_channels"), settings.whole("norm_num_groups")
    if settings["out_channels"] not in (channels, 2 * channels):
        settings.refuse("out_channels", f"in_channels, {channels}, or twice that")
    if settings["time_embedding_dim"] not in (None, 4 * widths[0]):
        settings.refuse("time_embedding_dim", f"null or {4 * widths[0]}, four times the first channels")
    shifts = settings.one_of("resnet_time_scale_shift", ("default", "scale_shift")) == "scale_shift"
    if settings["attn_norm_num_groups"] not in ((groups,) if shifts else (None, groups)):
        settings.refuse("attn_norm_num_groups", f"norm_num_groups, {groups}: every attention has its norm")
    try:
        return UNetConfig(
            image_size=size,
            in_channels=channels,
            base_channels=widths[0],
            channel_mults=tuple(width // widths[0] for width in widths),
            num_res_blocks=settings.whole("layers_per_block", _MOST_LAYERS),
            attention_resolutions=tuple(
                min(image_sides(size)) >> level for level, there in enumerate(attends) if there
            ),
            norm_groups=groups,
            dropout=settings.number("dropout"),
            num_heads=_heads(
                settings, [width for width, there in zip(widths, attends, strict=True) if there], widths[-1]
            ),
            scale_shift_norm=shifts,
            num_classes=0 if settings["num_class_embeds"] is None else settings.whole("num_class_embeds"),
            learned_variance=settings["out_channels"] != channels,
        )
    except ValueError as error:
        raise ConfigError(f"is not a shape of our network ({error})", item=item) from error


def _size(settings: ForeignSettings) -> ImageSize:
    size = settings["sample_size"]
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or any(type(side) is not int for side in sides):
        settings.refuse("sample_size", "one whole number, or height and width")
    return image_size_of(*sides)


def _widths(settings: ForeignSettings) -> list[int]:
    widths = settings["block_out_channels"]
    if (
        not isinstance(widths, list)
        or not widths
        or any(type(width) is not int or width < 1 or width % widths[0] for width in widths)
    ):
        settings.refuse("block_out_channels", "whole multiples of the first")
    return list(widths)


def _attends(settings: ForeignSettings, levels: int) -> list[bool]:
    """Tell for each level if it has attention, the same on the way down and up."""
    found = []
    for name, way in (("down_block_types", "Down"), ("up_block_types", "Up")):
        blocks = settings[name]
        kinds = (f"{way}Block2D", f"Attn{way}Block2D")
        if not isinstance(blocks, list) or len(blocks) != levels or any(block not in kinds for block in blocks):
            settings.refuse(name, f"{levels} of {kinds[0]} and {kinds[1]}, one for each of block_out_channels")
        found.append([block == kinds[1] for block in blocks])
    down, up = found
    if down != up[::-1]:
        settings.refuse("up_block_types", "attention at the levels of down_block_types, from the last to the first")
    return down


def _heads(settings: ForeignSettings, attended: list[int], middle: int) -> int:
    """The number of heads, one at every attention: diffusers counts channels a head, None for all of them."""
    each = settings["attention_head_dim"]
    if each is None:
        return 1
    channels = sorted({*attended, middle})
    if type(each) is not int or each < 1 or len(channels) > 1 or middle % each:
        among = ", ".join(map(str, channels))
        settings.refuse("attention_head_dim", f"null, or a divisor if all attentions have equal channels, here {among}")
    return middle // int(each)
