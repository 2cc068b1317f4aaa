"""docs/presets.md: each value of the paper is the preset's, and what is said in other units is the same."""

import math
import re
from pathlib import Path

import pytest
import torch

from ddpm_core.ema import ema_decay
from ddpm_core.network.unet import UNet
from ddpm_core.train_step import learning_rate
from docs.presets import CATEGORIES, PAPER, VALUES, Category, Value, value_of
from flows.cli import run_command
from flows.recipe.config import PipelineConfig
from flows.recipe.presets.table import PRESETS, preset
from flows.recipe.settings import load_config
from infra.errors import InputError

PAGE = (Path(__file__).parent.parent / "docs" / "presets.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
BATCH = {"cifar10": 128, "celebahq256": 64, "lsun256": 64}
DECAY, WARMUP_STEPS = 0.9999, 5000


def parameters(config: PipelineConfig) -> int:
    with torch.device("meta"):
        network = UNet(config.train.unet(config.prepare.image_size, config.prepare.channels), seed=0)
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.setting)
@pytest.mark.parametrize("name", PAPER)
def test_each_value_is_the_papers(name: str, value: Value) -> None:
    if value.expected(name) is not None:
        assert value_of(preset(name), value.setting) == value.expected(name)


@pytest.mark.parametrize("name", PAPER)
def test_what_a_preset_changes_is_in_the_table(name: str) -> None:
    """Otherwise a value without a source could enter; where the images are and how many hold out are no part of it."""
    ours = {"prepare.kind", "prepare.holdout", "sample.batch_size"}
    usual, config = PipelineConfig(), preset(name)
    for stage in PipelineConfig.model_fields:
        for setting in type(getattr(config, stage)).model_fields:
            path = f"{stage}.{setting}"
            if value_of(config, path) != value_of(usual, path):
                assert path in {value.setting for value in VALUES} | ours


@pytest.mark.parametrize(
    ("name", "stated", "exact"),
    [("cifar10", 35.7, 35_746_307), ("celebahq256", 114, 113_673_219), ("lsun256", 114, 113_673_219)],
)
def test_the_networks_have_the_papers_size(name: str, stated: float, exact: int) -> None:
    count = parameters(preset(name))
    assert count == exact
    assert f"{exact:,}" in PAGE
    assert count / 1e6 == pytest.approx(stated, rel=0.004)


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda one: one.name)
def test_the_categories_of_lsun(category: Category) -> None:
    config = load_config("lsun256", None, category.settings)
    assert config.train.total_images == category.steps * config.train.batch_size
    assert config.train.random_flip == category.flips == ("Bedroom" not in category.name)
    count = parameters(config)
    assert count / 1e6 == pytest.approx(category.millions, rel=0.004)
    assert f"{count:,}" in PAGE


@pytest.mark.parametrize("name", PAPER)
def test_the_average_is_the_papers(name: str) -> None:
    """The paper's code starts as a copy of the weights after the first step, then keeps a decay of 0.9999."""
    config, batch = preset(name).train, BATCH[name]
    steps = (0, 1, 2, 10, 5000, 6931, 799_999)
    decays = [
        ema_decay(
            step * batch,
            batch,
            halflife_images=config.ema_halflife_images,
            rampup_ratio=config.ema_rampup_ratio,
        )
        for step in steps
    ]
    assert decays[0] == 0
    assert decays[1:] == pytest.approx([DECAY] * (len(steps) - 1), abs=1e-10)
    assert f"{batch * math.log(0.5) / math.log(DECAY):,.0f} " in PROSE
    assert f"{math.log(0.5) / math.log(DECAY):,.1f} steps" in PROSE


@pytest.mark.parametrize("name", PAPER)
def test_the_learning_rate_is_the_papers(name: str) -> None:
    config, batch = preset(name).train, BATCH[name]
    for step in (0, 1, 2500, 4999, 5000, 5001, 400_000):
        rate = learning_rate(
            step * batch,
            peak=config.learning_rate,
            warmup_images=config.lr_warmup_images,
            decay_images=config.lr_decay_images,
        )
        assert rate == pytest.approx(config.learning_rate * min(step / WARMUP_STEPS, 1.0), rel=1e-12)


@pytest.mark.parametrize("name", PAPER)
def test_a_run_without_images_says_what_to_set(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_command(["prepare", name, "--in-process", "--no-tracking", "--root", str(tmp_path)]) == InputError.exit_code
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "prepare.source" in line]
    assert "is not set" in line
    assert PRESETS[name].config.prepare.kind.description in line
    assert line.endswith("--set prepare.source=PATH")


def test_every_value_is_on_the_page() -> None:
    rows = re.findall(r"^\| .* \| `\w+\.\w+` \|.*$", PAGE, re.MULTILINE)
    assert len(rows) == len(VALUES)
