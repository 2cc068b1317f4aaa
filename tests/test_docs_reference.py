"""The generated parts of the documentation are those that the code makes now."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from ddpm_core.choices import Choice
from docs.reference import COMMAND, PARTS, TOP, option_table, pages, part_names, renewed, setting_tables, stage_picture
from flows.recipe.config import PipelineConfig
from flows.stage import Stage
from flows.stage_config import StageConfig, choice, goal
from flows.stages.table import STAGES
from infra.errors import DdpmError

GRAPH = TOP / "tests" / "flows" / "graph.txt"
SETTINGS, DATASETS = ((TOP / "docs" / name).read_text(encoding="utf-8") for name in ("settings.md", "datasets.md"))


class Shade(Choice):
    """A choice with a setting that one option uses."""

    LIGHT = "light", "Hardly | any", ("glow",)
    DARK = "dark", "All of it"


class LampConfig(StageConfig):
    """Settings of every kind."""

    shade: Shade = choice(Shade.LIGHT, "The shade")
    glow: float = Field(2.0, gt=0, description="How bright")
    bulbs: int = goal(3, "Bulbs", ge=1, le=1 << 40)
    dimmed: bool = Field(False, description="Dim it")


def stage(name: str, inputs: Sequence[str] = (), config: type[Any] = LampConfig) -> Stage[Any, Any]:
    artifact = type(name.capitalize(), (), {})
    return Stage(
        name=name,
        about=f"Do {name}.",
        inputs=tuple(inputs),
        config=config,
        artifact=artifact,
        run=lambda: None,
        account=lambda *_: None,  # type: ignore[arg-type, return-value]
    )


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert renewed(text) == text, f"the code has changed; run: {COMMAND}"


def test_every_part_is_on_one_page() -> None:
    shown = [name for page in pages() for name in part_names(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(PARTS)


def test_a_part_that_nobody_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="colours"):
        renewed("<!-- generated: colours -->\n<!-- end of generated -->")


def test_renewing_replaces_the_part_alone() -> None:
    text = "before\n<!-- generated: stages -->\nold\n<!-- end of generated -->\nafter\n"
    new = renewed(text)
    assert new == f"before\n<!-- generated: stages -->\n{stage_picture()}\n<!-- end of generated -->\nafter\n"
    assert renewed(new) == new


def read_picture(picture: str) -> dict[str, list[str]]:
    """The stages of a picture and their inputs, read column by column as a person does."""
    rows = [line for line in picture.splitlines() if re.match(r"[a-z]\w* .*●", line) and " makes " not in line]
    columns = {row.index("●"): row.split()[0] for row in rows}
    return {row.split()[0]: [columns[place] for place, mark in enumerate(row) if mark == "○"] for row in rows}


def test_the_picture_says_what_each_stage_reads() -> None:
    """The same graph as that of the Prefect tasks."""
    lines = (line.partition(" <- ") for line in GRAPH.read_text().splitlines())
    graph = {name: inputs.split(", ") if inputs else [] for name, _, inputs in lines}
    assert read_picture(stage_picture()) == graph
    for one in STAGES:
        (row,) = (line for line in stage_picture().splitlines() if line.startswith(f"{one.name} "))
        assert f" {one.artifact.__name__} " in row
        assert row.endswith(one.about.rstrip("."))


def test_a_stage_that_leaves_one_out_passes_it_by() -> None:
    chain = [stage("a"), stage("b"), stage("c", ["a"]), stage("d", ["b"])]
    picture = stage_picture(chain)
    assert read_picture(picture) == {"a": [], "b": [], "c": ["a"], "d": ["b"]}
    c, d = (line for line in picture.splitlines() if line[:1] in ("c", "d"))
    assert c.startswith("c  ○──│──●")
    assert d.startswith("d  │  ○──│──●")


def test_every_setting_and_every_option_has_a_row() -> None:
    for name, field in PipelineConfig.model_fields.items():
        config = field.default
        for setting in type(config).model_fields:
            assert f"\n| `{name}.{setting}` |" in SETTINGS
            if isinstance(value := getattr(config, setting), Choice):
                (table,) = re.findall(
                    rf"^\| `{name}\.{setting}` \| description .*\n((?:\|.*\n)+)", SETTINGS + DATASETS, re.M
                )
                assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(type(value))


def test_rows_of_settings() -> None:
    settings, options = setting_tables(stage("lamp")).split("\n\n")
    assert settings.splitlines()[2:] == [
        "| `lamp.workers` | `0` | 0 to 4096 | execution | Ray workers; 0 means all CPUs of the cluster, or all GPUs |",
        "| `lamp.shade` | `light` | below | result | The shade |",
        "| `lamp.glow` | `2` | above 0 | result | How bright |",
        "| `lamp.bulbs` | `3` | 1 to 2^40 | goal | Bulbs |",
        "| `lamp.dimmed` | `false` | `false`, `true` | result | Dim it |",
    ]
    assert options.splitlines() == [
        "| `lamp.shade` | description | settings that it uses |",
        "| --- | --- | --- |",
        "| `light` | Hardly \\| any | `lamp.glow` |",
        "| `dark` | All of it |  |",
    ]


def test_an_option_that_is_added_changes_the_text() -> None:
    class More(Choice):
        LIGHT = "light", "Hardly any"
        DARK = "dark", "All of it"
        NONE = "none", "No light"

    class MoreConfig(StageConfig):
        shade: More = choice(More.LIGHT, "The shade")

    assert "| `none` | No light |" in setting_tables(stage("lamp", config=MoreConfig))
    assert "| `none` | No light |" in option_table(More, "shade")


def test_the_presets_and_what_they_change() -> None:
    part = PARTS["presets"]()
    values = {"digits": 89_600, "fashion-mnist": 6_000_000, "folder": 1_000_000, "cifar10": 102_400_000}
    (names,) = re.findall(r"^\| setting \| (.*) \|$", part, re.MULTILINE)
    (images,) = re.findall(r"^\| `train.images` \| (.*) \|$", part, re.MULTILINE)
    shown = dict(zip(names.split(" | "), images.split(" | "), strict=True))
    assert {name: shown[f"`{name}`"] for name in values} == {name: f"`{value}`" for name, value in values.items()}
    assert "train.grad_clip" not in part, "no preset changes it"


def test_every_exit_code_has_a_row() -> None:
    codes = re.findall(r"^\| (\d+) \| \S", PARTS["exit codes"](), re.MULTILINE)
    assert [int(code) for code in codes] == [0, 1, *sorted(e.exit_code for e in DdpmError.__subclasses__()), 130, 143]
