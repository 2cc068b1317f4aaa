"""A side by the words that name it."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from flows.run_record import FinishedRun, RunRecord
from flows.scoring.score import score
from flows.scoring.side import Side, _spread, open_side, open_sides
from flows.stage import Context
from infra.errors import InputError
from infra.sources.source import Entry, Source
from tests.conftest import TinyRun
from tests.flows.scoring.test_score import config, drawn, saved


@pytest.fixture
def opened(make_context: Callable[..., Context]) -> Callable[..., Side]:
    context = make_context()

    def opened(text: str, *settings: str) -> Side:
        values, given = config(*settings)
        return open_side(text, "images", values.prepare, given, context)

    return opened


@pytest.mark.parametrize(("pattern", "count"), [("00?.png", 10), ("0[01]3.png", 2), ("*1.png", 2)])
def test_a_glob_of_any_form(tmp_path: Path, opened: Callable[..., Side], pattern: str, count: int) -> None:
    saved(tmp_path / "a", drawn(14, 0))
    side = opened(f"{tmp_path}/a/{pattern}")
    assert side.images is not None
    assert side.images.count == count


def test_a_home_folder(tmp_path: Path, opened: Callable[..., Side], monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "a", drawn(3, 0))
    monkeypatch.setenv("HOME", str(tmp_path))
    side = opened("~/a")
    assert side.images is not None
    assert side.images.count == 3


def test_labels_beside_the_images_do_not_matter(tmp_path: Path, opened: Callable[..., Side]) -> None:
    saved(tmp_path / "a", drawn(3, 0))
    (tmp_path / "a" / "dataset.json").write_text("{")
    side = opened(str(tmp_path / "a"))
    assert side.images is not None
    assert side.images.count == 3


def test_statistics_whatever_the_case_of_their_suffix(tmp_path: Path, opened: Callable[..., Side]) -> None:
    np.savez(tmp_path / "st.npz", mu=np.zeros(4), sigma=np.eye(4))
    (tmp_path / "st.npz").rename(tmp_path / "ST.NPZ")
    assert opened(str(tmp_path / "ST.NPZ")).statistics.endswith("ST.NPZ")


def test_colour_after_grey_stays_colour(
    tmp_path: Path, opened: Callable[..., Side], make_context: Callable[..., Context]
) -> None:
    saved(tmp_path / "a" / "1", drawn(20, 0, (8, 8)))
    saved(tmp_path / "a" / "2", drawn(20, 1))
    side = opened(str(tmp_path / "a"))
    assert side.dataset is not None
    assert side.dataset.channels == 3
    grey = opened(str(tmp_path / "a"), "prepare.channels=1")
    assert grey.dataset is not None
    assert grey.dataset.channels == 1


class TestBesideARunOfGreyImages:
    """The tiny run's digits are grey and 8x8."""

    @pytest.fixture
    def run(self, finished: TinyRun) -> TinyRun:
        record = FinishedRun(
            dataset=finished.dataset, snapshot=finished.snapshot, samples=finished.samples, figures=finished.figures
        )
        RunRecord(name="tiny-0a1b2c3d", finished=record).write(finished.store)
        return finished

    @pytest.mark.parametrize("run_first", [True, False])
    def test_a_grey_folder_is_grey(self, tmp_path: Path, run: TinyRun, *, run_first: bool) -> None:
        grey, values = str(saved(tmp_path / "grey", drawn(9, 0, (8, 8)))), config()[0]
        samples, reference = ("tiny-0a1b2c3d", grey) if run_first else (grey, "tiny-0a1b2c3d")
        sides = open_sides(samples, reference, values.prepare, frozenset(), run.context)
        assert [side.dataset.channels for side in sides if side.dataset] == [1, 1]
        found = score(samples, reference, *config('evaluate.metrics=["fd"]'), run.context)
        assert found.figures.figures[0].value > 0

    def test_a_folder_with_colour_late_in_it_is_refused(self, tmp_path: Path, run: TinyRun) -> None:
        saved(tmp_path / "a" / "1", drawn(150, 0, (8, 8)))
        saved(tmp_path / "a" / "2", drawn(9, 1))
        with pytest.raises(InputError, match=r"a: has images of 3 channels, and the other side has 1 - .*channels=3"):
            score("tiny-0a1b2c3d", str(tmp_path / "a"), *config(), run.context)
        taken = score("tiny-0a1b2c3d", str(tmp_path / "a"), *config("prepare.channels=1"), run.context)
        assert taken.figures.figures


@pytest.mark.parametrize("count", [2, 63, 64, 65, 128, 129, 1000])
def test_a_listing_is_seen_at_its_begin_and_near_its_end(count: int) -> None:
    class Listing:
        def find(self) -> Iterator[Entry]:
            return (Entry(name=f"{number}") for number in range(count))

    numbers = [int(entry.name) for entry in _spread(cast("Source", Listing()), "x")]
    assert numbers[0] == 0
    assert min(count, 32) <= len(numbers) <= 64
    gaps = {later - earlier for earlier, later in pairwise([*numbers, count])}
    assert max(gaps) <= -(-count // 32)
