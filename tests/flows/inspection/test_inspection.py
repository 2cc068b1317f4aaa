"""What an inspection says of sizes, classes and splits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.inspection.inspection import Inspection, inspect_source
from flows.stage import Context
from flows.stages.prepare.account import splits_line
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import prepare
from infra.errors import InputError
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture


def inspected(folder: Path, **settings: object) -> Inspection:
    return inspect_source(PrepareConfig.model_validate({"source": str(folder)} | settings), lambda _: None)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ([(8, 9)], "8x9 (1)"),
        ([(8, 8), (8, 8), (9, 7)], "8x8 (2), 9x7 (1)"),
        ([(8, 8), (40, 30), (20, 20), (20, 20), (9, 9)], "4 sizes from 8x8 to 40x30, most often 20x20 (2)"),
    ],
)
def test_sizes(tmp_path: Path, sizes: list[tuple[int, int]], line: str) -> None:
    laid(tmp_path, {f"{n}.png": encoded(picture(n, size)) for n, size in enumerate(sizes)})
    assert inspected(tmp_path).sizes_line == line


@pytest.mark.parametrize(
    ("side", "size", "advised"),
    [
        (100, 32, "prepare.image_size=64"),
        (63, 32, ""),
        (31, 32, "prepare.image_size=16"),
        (2, 32, "prepare.image_size=4"),
    ],
)
def test_the_size_that_fits(tmp_path: Path, side: int, size: int, advised: str) -> None:
    laid(tmp_path, {"a.png": encoded(picture(0, (side, 2 * side)))})
    found = inspected(tmp_path, image_size=size).advice
    assert [one.setting for one in found if "image_size" in one.setting] == [advised] * bool(advised)


@pytest.mark.parametrize(
    ("sizes", "settings", "advised"),
    [
        ([(13, 10), (10, 13), (10, 10), (12, 10)], {}, True),
        ([(13, 10), (10, 10), (12, 10)], {}, False),
        ([(10, 10), (12, 10)], {}, False),
        ([(40, 20)], {"image_size": [8, 16]}, False),
        ([(20, 20)], {"image_size": [8, 16]}, True),
        ([(40, 20)], {"fit": "pad"}, False),
        ([(40, 20)], {"fit": "stretch"}, False),
        ([(40, 20)], {"resize_filter": "none"}, False),
        ([(40, 20), (10, 10), (10, 10)], {"min_side": 11}, True),
        ([(40, 10), (30, 30)], {"min_side": 11}, False),
    ],
    ids=str,
)
def test_another_fit_if_the_cut_takes_much_of_half_the_images(
    tmp_path: Path, sizes: list[tuple[int, int]], settings: dict[str, object], advised: bool
) -> None:
    laid(tmp_path, {f"{n}.png": encoded(picture(n, size)) for n, size in enumerate(sizes)})
    found = [one.setting for one in inspected(tmp_path, **{"image_size": 8, **settings}).advice]
    assert [setting for setting in found if "fit" in setting] == ["prepare.fit=pad", "prepare.fit=stretch"] * advised


def test_classes_are_counted_in_the_splits_that_count(tmp_path: Path) -> None:
    names = ("train/cat/1", "train/cat/2", "train/dog/1", "test/cat/1", "test/dog/1", "val/dog/1")
    laid(tmp_path, {f"{name}.png": encoded(picture(n)) for n, name in enumerate(names)})
    found = inspected(tmp_path)
    assert found.classes == {"cat": {"train": 2, "test": 1}, "dog": {"train": 1, "test": 1}}
    assert found.left_out == ["1 outside train and test"]
    without = inspected(tmp_path, use_splits=False)
    assert without.splits_line == "held out in the order of content hashes (prepare.holdout)"
    assert without.left_out == []


@pytest.mark.parametrize("start", range(0, 150, 30))
def test_the_rule_of_the_held_out_images_is_that_of_a_run(
    tmp_path: Path, make_context: Callable[..., Context], start: int
) -> None:
    laid(tmp_path / "a", {f"{n}.png": encoded(picture(start + n)) for n in range(30)})
    config, context = PrepareConfig(source=str(tmp_path / "a")), make_context()
    dataset = prepare(config, context)
    facts = dataset.manifest(context.store).facts
    assert inspected(tmp_path / "a").splits_line == splits_line(facts)


def test_a_count_of_all_images_is_refused(tmp_path: Path) -> None:
    laid(tmp_path, {f"{n}.png": encoded(picture(n)) for n in range(6)})
    with pytest.raises(InputError, match="would hold out 6 of 6 images"):
        inspected(tmp_path, holdout=6)
    laid(tmp_path, {f"{split}/{n}.png": encoded(picture(n + 9)) for n in range(3) for split in ("train", "test")})
    for n in range(6):
        (tmp_path / f"{n}.png").unlink()
    assert inspected(tmp_path, holdout=6).splits_line.startswith("from folders"), "a count holds only without a split"


def test_the_listing_is_reported_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.inspection.inspection._Counting.every", 2)
    laid(tmp_path, {f"{n}.png": encoded(picture(n)) for n in range(5)})
    counts: list[int] = []
    inspect_source(PrepareConfig(source=str(tmp_path)), counts.append)
    assert counts == [2, 4]
