"""A grid is read as `--set` reads values, and its product has every combination once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.recipe.presets.table import preset
from flows.sweep.grid import Axis, check_axes, combination_text, combinations, parse_axes
from infra.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("train.learning_rate=1e-4,2e-4", "train.learning_rate", (1e-4, 2e-4)),
        ("sample.sampler=ddpm, ddim", "sample.sampler", ("ddpm", "ddim")),
        ("train.channel_mults=[1,2],[1,2,2]", "train.channel_mults", ([1, 2], [1, 2, 2])),
        ("prepare.source=/a,s3://b/c=d", "prepare.source", ("/a", "s3://b/c=d")),
        ('prepare.source=["x,y"],"u,v"', "prepare.source", (["x,y"], "u,v")),
        ("train.compile=true,false", "train.compile", (True, False)),
        ("train.seed=1", "train.seed", (1,)),
    ],
)
def test_values(text: str, path: str, values: tuple[object, ...]) -> None:
    (axis,) = parse_axes([text])
    assert (axis.path, axis.values) == (path, values)
    assert [type(value) for value in axis.values] == [type(value) for value in values]


# Texts that stand for themselves if they are quoted as JSON quotes them.
PLAIN = st.text(st.characters(codec="ascii", exclude_characters='"\\', min_codepoint=32), max_size=8)
VALUES = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), PLAIN, st.lists(st.integers(0, 9)))


@given(st.lists(VALUES, min_size=1, max_size=5, unique_by=lambda value: json.dumps(value)))
def test_every_list_of_json_values_is_read_back(values: list[object]) -> None:
    if len({repr(value if not isinstance(value, float) else value + 0) for value in values}) < len(values):
        return
    if any(a == b for place, a in enumerate(values) for b in values[:place]):
        return  # 1 and 1.0 are one value of a setting
    (axis,) = parse_axes([f"train.x={','.join(json.dumps(value) for value in values)}"])
    assert list(axis.values) == values


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "--grid: is empty"),
        (["train.learning_rate"], "--grid: not of the form stage.setting=value,value: train.learning_rate"),
        (["=1,2"], "--grid: not of the form"),
        (["train.seed=1,"], "--grid train.seed: has an empty value: 1,"),
        (["train.seed=1,2,1"], "--grid train.seed: has a value twice: 1"),
        (["train.learning_rate=1e-4,0.0001"], "has a value twice: 0.0001"),
        (["train.seed=1", "train.seed=2"], "--grid train.seed: is given twice"),
    ],
)
def test_refusals(texts: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_axes(texts)
    assert words in str(error.value)


def test_the_product_has_every_combination_once_and_the_last_axis_changes_fastest() -> None:
    axes = [Axis(path="a.x", values=(1, 2)), Axis(path="a.y", values=("u", "v", "w"))]
    found = [tuple(each.values()) for each in combinations(axes)]
    assert found == [(1, "u"), (1, "v"), (1, "w"), (2, "u"), (2, "v"), (2, "w")]
    assert combination_text(combinations(axes)[1]) == "a.x=1, a.y=v"


def test_a_setting_that_changes_no_result_is_no_axis() -> None:
    base = preset("digits")
    with pytest.raises(ConfigError, match=r"--grid train\.workers: is an execution setting: no result depends on it"):
        check_axes(parse_axes(["train.workers=1,2"]), base)
    check_axes(parse_axes(["train.images=1,2", "prepare.source=a,b", "train.nothing=1"]), base)
