"""Examples of the rules about all splits and classes together; each test names the rules that it shows."""

import pytest

from infra.sources.listing.cells import settled


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train": "ab", "val": "ab", "test": "ab"}, {"train": "ab", "": "ab", "test": "ab"}),
        ({"train": "ab", "val": "a", "test": "b"}, {"train": "ab", "": "a", "test": "b"}),
        ({"train": "ab", "val": "ab"}, {"train": "ab", "test": "ab"}),
        ({"train": "ab", "val": "ab", "test": ""}, {"train": "ab", "test": "ab", "": ""}),
        ({"train": "", "val": "", "test": ""}, {"train": "", "": "", "test": ""}),
        ({"train": "", "val": "ab", "test": ""}, {"train": "", "": "ab", "test": ""}),
        ({"": "ab", "test": "ab"}, {"": "ab", "test": "ab"}),
    ],
)
def test_which_images_are_held_out(given: dict[str, str], expected: dict[str, str]) -> None:
    """Rules 5 and 6: published test images often lack their labels; then validation has them."""
    counts = {(split, label): 1 for split, labels in given.items() for label in labels or [""]}
    assert set(settled(counts, from_folders=True).values()) == {
        (of, label) for of, labels in expected.items() for label in labels or [""]
    }


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["imgs/cat", "imgs/dog"], ["cat"], (["cat", "dog"], ["cat"])),
        (["set-train/cat", "set-train/dog"], ["set-test/dog"], (["cat", "dog"], ["dog"])),
        (["cat/a", "cat/b"], ["cat/a", "dog/x"], (["cat/a", "cat/b"], ["cat/a", "dog/x"])),
        (["Greek/1", "Greek/2"], ["Hebrew/1"], (["Greek/1", "Greek/2"], ["Hebrew/1"])),
        (["cat", "dog"], ["images"], (["cat", "dog"], ["images"])),
        (["cat", "dog"], ["eel"], (["cat", "dog"], ["eel"])),
    ],
)
def test_folders_around_one_split(train: list[str], test: list[str], expected: tuple[list[str], list[str]]) -> None:
    """Rule 7."""
    counts = {("train", label): 1 for label in train} | {("test", label): 1 for label in test}
    assert all(cell == change for cell, change in settled(counts, from_folders=False).items()), "labels are as given"
    changes = settled(counts, from_folders=True)
    assert [changes["train", label][1] for label in train] == expected[0]
    assert [changes["test", label][1] for label in test] == expected[1]


def test_images_above_the_class_have_none_in_common() -> None:
    """Rule 7, if the second folder is the class."""
    counts = {("train", path): 1 for path in ("w", "w/a/cat", "w/b/dog")}
    counts |= {("test", path): 1 for path in ("c", "a/cat", "b/dog")}
    changes = settled(counts, from_folders=True, depth=2)
    assert [changes[cell][1] for cell in counts] == ["", "cat", "dog", "", "cat", "dog"]
