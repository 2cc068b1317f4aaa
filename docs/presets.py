"""The values of the presets `cifar10`, `celebahq256` and `lsun256` for docs/presets.md, each with its source."""

import json
from dataclasses import dataclass
from typing import Any

from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import PRESETS

PAPER = ("cifar10", "celebahq256", "lsun256")
CODE = "https://github.com/hojonathanho/diffusion/blob/master"
_CIFAR = f"[run_cifar.py]({CODE}/scripts/run_cifar.py)"
_SCRIPTS = f"{_CIFAR}, [run_celebahq.py]({CODE}/scripts/run_celebahq.py), [run_lsun.py]({CODE}/scripts/run_lsun.py)"
_TPU = f"[tpu_utils.py]({CODE}/diffusion_tf/tpu_utils/tpu_utils.py)"
_UNET = f"[unet.py]({CODE}/diffusion_tf/models/unet.py)"
_DIFFUSION = f"[diffusion_utils.py]({CODE}/diffusion_tf/diffusion_utils.py)"
_B = "appendix B"


@dataclass(frozen=True)
class Value:
    """A value of the paper.

    Attributes:
        setting: Its setting here.
        statement: What the paper or its code says.
        source: The place in the paper, or the file of its code.
        values: The values for CIFAR-10, CelebA-HQ and LSUN Church, computed from the statement's own numbers; a single
            one is for all three, and None is a value that the paper does not give.
    """

    setting: str
    statement: str
    source: str
    values: tuple[Any, ...]

    def expected(self, preset: str) -> object:
        """Return the value for a preset."""
        return self.values[PAPER.index(preset) % len(self.values)]


VALUES = (
    Value("prepare.image_size", "32×32 and 256×256 pixels", "section 4, figure 3", (32, 256, 256)),
    Value("prepare.channels", "colour", "figure 1", (3,)),
    Value("train.num_timesteps", "T = 1000", "section 4", (1000,)),
    Value("train.schedule", "linear", "section 4", ("linear",)),
    Value("train.beta_start", "β_1 = 10⁻⁴", "section 4", (1e-4,)),
    Value("train.beta_end", "β_T = 0.02", "section 4", (0.02,)),
    Value("train.parameterisation", "the network predicts ε", "section 3.2, eq. (11)", ("eps",)),
    Value("train.loss", "L_simple", "section 3.4, eq. (14)", ("simple",)),
    Value("train.variance", "fixed variances", "section 3.2", ("fixed",)),
    Value("train.class_conditional", "unconditional", "section 4", (False,)),
    Value("train.base_channels", "ch=128", _SCRIPTS, (128,)),
    Value(
        "train.channel_mults",
        "four resolutions, six for 256×256; ch_mult=(1, 2, 2, 2), (1, 1, 2, 2, 4, 4)",
        f"{_B}; {_SCRIPTS}",
        ([1, 2, 2, 2], [1, 1, 2, 2, 4, 4], [1, 1, 2, 2, 4, 4]),
    ),
    Value("train.num_res_blocks", "two residual blocks per resolution", _B, (2,)),
    Value("train.attention_resolutions", "self-attention at 16×16", _B, ([16],)),
    Value("train.num_heads", "one head over all channels", _UNET, (1,)),
    Value("train.norm_groups", "group normalisation; 32 groups", f"{_B}; {_UNET}", (32,)),
    Value("train.dropout", "0.1 for CIFAR-10, else 0", _B, (0.1, 0.0, 0.0)),
    Value("train.random_flip", "flips, except for LSUN Bedroom", _B, (True,)),
    Value("train.batch_size", "128, and 64 for larger images", _B, (128, 64, 64)),
    Value("train.learning_rate", "Adam, 2 × 10⁻⁴, and 2 × 10⁻⁵ for 256×256", _B, (2e-4, 2e-5, 2e-5)),
    Value("train.lr_warmup_images", "warm-up of 5000 steps", _SCRIPTS, (5000 * 128, 5000 * 64, 5000 * 64)),
    Value("train.lr_decay_images", "then constant", _TPU, (0,)),
    Value("train.grad_clip", "gradients clipped to norm 1", _SCRIPTS, (1.0,)),
    Value("train.ema_halflife_images", "EMA with decay 0.9999 per step", _B, (887_184, 443_592, 443_592)),
    Value("train.ema_rampup_ratio", "the same decay from the second step on", _TPU, (10_000,)),
    Value(
        "train.images",
        "800k, 0.5M and 1.2M steps",
        _B,
        (800_000 * 128, 500_000 * 64, 1_200_000 * 64),
    ),
    Value("sample.sampler", "the ancestral chain", "algorithm 2", ("ddpm",)),
    Value("sample.num_steps", "all T steps", "algorithm 2", (0,)),
    Value(
        "sample.variance",
        "σ_t² = β_t for CIFAR-10, else that of the posterior",
        f"{_CIFAR}; {_DIFFUSION}",
        ("fixed_large", "fixed_small", "fixed_small"),
    ),
    Value("sample.clip_x_start", "predicted images clipped to [-1, 1]", _DIFFUSION, (True,)),
    Value("sample.count", "50,000 samples", _B, (50_000,)),
    Value("evaluate.bpd_images", "the bound of the whole test set", "table 1", (10_000, None, None)),
    Value("evaluate.likelihood", "all T terms of the bound", "section 3, eq. (5)", (["bound"],)),
)


@dataclass(frozen=True)
class Category:
    """A category of LSUN.

    Attributes:
        name: Its name.
        steps: Optimiser steps in the paper.
        flips: Whether the paper mirrors its images.
        base_channels: Channels at full resolution.
        millions: Parameters of the network in millions, as the paper states them.
    """

    name: str
    steps: int
    flips: bool = True
    base_channels: int = 128
    millions: float = 114

    @property
    def settings(self) -> list[str]:
        """The settings in which it differs from the preset `lsun256`."""
        wanted = {"images": self.steps * 64, "base_channels": self.base_channels, "random_flip": self.flips}
        usual = PRESETS["lsun256"].config.train
        changed = {name: value for name, value in wanted.items() if getattr(usual, name) != value}
        return [f"train.{name}={str(value).lower()}" for name, value in changed.items()]


CATEGORIES = (
    Category("Church", 1_200_000),
    Category("Cat", 1_800_000),
    Category("Bedroom", 2_400_000, flips=False),
    Category("Bedroom, the larger network", 1_150_000, flips=False, base_channels=192, millions=256),
)


def value_of(config: PipelineConfig, setting: str) -> object:
    """Return the value of a setting by its full name."""
    stage, _, name = setting.partition(".")
    return getattr(getattr(config, stage), name)


def value_rows() -> list[list[str]]:
    """One row per value of the paper: the statement, the setting, its value in each preset, the source."""
    return [[one.statement, f"`{one.setting}`", *(_cell(one, name) for name in PAPER), one.source] for one in VALUES]


def category_rows() -> list[list[str]]:
    """One row per category of LSUN: its name, the paper's statements, the settings."""
    return [
        [
            one.name,
            f"{one.steps:,}",
            "yes" if one.flips else "no",
            f"{one.millions:g} M",
            " ".join(f"`--set {setting}`" for setting in one.settings) or "none",
        ]
        for one in CATEGORIES
    ]


def _cell(one: Value, preset: str) -> str:
    value = value_of(PRESETS[preset].config, one.setting)
    shown = json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
    return "`" + shown.strip('"') + "`" + ("" if one.expected(preset) is not None else ", ours")
