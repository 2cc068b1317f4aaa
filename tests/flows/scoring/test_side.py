"""A side by the words that name it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows.scoring.side import Side, open_side
from flows.stage import Context
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


def test_statistics_whatever_the_case_of_their_suffix(tmp_path: Path, opened: Callable[..., Side]) -> None:
    np.savez(tmp_path / "st.npz", mu=np.zeros(4), sigma=np.eye(4))
    (tmp_path / "st.npz").rename(tmp_path / "ST.NPZ")
    assert opened(str(tmp_path / "ST.NPZ")).statistics.endswith("ST.NPZ")
