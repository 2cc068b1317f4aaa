"""Examples of the rules about the folders around all images; each test names the rule that it shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.sources.listing.survey import Survey
from infra.sources.source import Entry
from tests.infra.sources.listing.test_placing import folders, place


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (("seg_train/a", "seg_test/a"), ["seg_train", "seg_test"]),
        (("x/DIV2K_train_HR", "x/DIV2K_valid_HR"), ["DIV2K_train_HR", "DIV2K_valid_HR"]),
        (("train_256x256", "val_256x256"), ["train_256x256", "val_256x256"]),
        (("bullet train", "cat"), []),
        (("cat", "dog"), []),
        (("pretrained", "contest"), []),
    ],
)
def test_splits_that_are_only_a_part_of_the_name(paths: tuple[str, ...], named: list[str]) -> None:
    """Rule 8."""
    survey = Survey()
    for entry in folders(*paths):
        survey.add(entry)
    assert survey.hidden_splits() == named


def test_folders_around_archives_may_look_like_splits() -> None:
    """Rule 8."""
    survey = Survey()
    for name in ("train_hall/a.tar", "test_tube/b.tar"):
        survey.add(Entry(name=f"{name}!1.png", file=name, at=(0,)))
    assert survey.hidden_splits() == ["train_hall", "test_tube"]


PATHS = st.lists(st.sampled_from(["train", "test", "val", "cat", "dog", "a"]), max_size=3).map("/".join)


@given(paths=st.lists(PATHS, min_size=1, max_size=6), around=st.sampled_from(["x", "x/y", "deep/er/still"]))
def test_folders_around_everything_are_ignored(paths: list[str], around: str) -> None:
    """Rule 1."""
    if not any("/" in path for path in paths) or len({path.split("/")[0] for path in paths}) == 1:
        paths = [*paths, "cat/inside", "other/inside"]
    assert place(*folders(*(f"{around}/{path}".rstrip("/") for path in paths))) == place(*folders(*paths))
