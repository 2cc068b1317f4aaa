"""The sample: evenly spaced, within bounds of number, memory and time, and prepared as a run prepares."""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from flows.inspection import sample
from flows.inspection.sample import Sample, take_sample
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.sources import open_source
from infra.sources.listing.listing import listed
from tests.infra.sources.trees import laid
from tests.pictures import encoded, picture


def taken(folder: Path, ticks: Iterator[float] | None = None, **settings: object) -> Sample:
    config = PrepareConfig.model_validate({"source": str(folder), "kind": "folder", "image_size": 8} | settings)
    opened = open_source(config)
    with listed(opened.source) as listing:
        return take_sample(opened.config, opened.source, listing, lambda: next(ticks) if ticks else 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty images of sides 10 to 49 in the order of their names."""
    laid(tmp_path, {f"{n}.png": encoded(picture(n, (n, n))) for n in range(10, 50)})
    return tmp_path


def test_all_images_if_they_are_few(folder: Path) -> None:
    found = taken(folder)
    assert found.images == 40
    assert sorted(found.sizes) == [(n, n) for n in range(10, 50)]
    assert found.formats == {"PNG RGB": 40}
    assert found.pictures.shape == (40, 3, 8, 8)
    assert not found.is_grey
    assert (found.bad, found.filtered, found.repeated) == ([], {}, 0)


def test_a_few_spread_over_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "MOST_IMAGES", 5)
    monkeypatch.setattr(sample, "MOST_PICTURES", 3)
    monkeypatch.setattr(sample, "_LINES", 7)
    found = taken(folder)
    assert sorted(found.sizes) == [(n, n) for n in (10, 19, 29, 39, 49)]
    assert len(found.pictures) == 3


def test_the_time_ends_after_a_look_at_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures come first, and they are spread over all images too."""
    monkeypatch.setattr(sample, "MOST_PICTURES", 2)
    found = taken(folder, chain([0.0, 1.0, 1.0], repeat(99.0)))
    assert found.images == 3
    assert {(10, 10), (49, 49)} < found.sizes.keys()


def test_pictures_take_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_PICTURE_BYTES", 2 * 8 * 8 * 3)
    found = taken(folder)
    assert (len(found.pictures), found.images) == (2, 40)


def test_images_outside_the_splits_are_not_looked_at(tmp_path: Path) -> None:
    laid(tmp_path, {f"{split}/{n}.png": encoded(picture(n)) for split in ("train", "test", "val") for n in range(4)})
    assert taken(tmp_path).images == 8
    assert taken(tmp_path, use_splits=False).images == 12


def test_grey_images_are_grey(tmp_path: Path) -> None:
    laid(tmp_path, {f"{n}.png": encoded(picture(n).convert("L")) for n in range(3)})
    assert taken(tmp_path).is_grey
