"""What a listing refuses, and the way on that each refusal names."""

import pytest

from infra.errors import InputError, Term
from infra.sources.listing import refusals
from infra.sources.tally import Tally


def counted(counts: dict[str, int]) -> Tally:
    tally = Tally()
    for name, count in counts.items():
        tally.add(name, count)
    return tally


def test_no_images_says_what_is_there_instead_and_what_was_looked_for() -> None:
    error = refusals.nothing_found(counted({".txt": 2}), Tally(), "of the kind zip")
    assert error.cause == "holds no images (left out: 2 .txt) of the kind zip"
    assert Term.SOURCE_KIND in error.remedy
    masks = refusals.nothing_found(Tally(), counted({"mask": 3}), "")
    assert masks.cause == "holds no images of that key, but 3 mask"
    assert Term.IMAGE_KEY in masks.remedy


def test_too_many_classes_name_the_way_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MAX_CLASSES", 2)
    refusals.check_classes({"a", "b"})
    with pytest.raises(InputError, match="more than 2 classes") as caught:
        refusals.check_classes({"a", "b", "c"})
    assert Term.LABELS in caught.value.remedy


def test_splits_below_other_folders_are_refused() -> None:
    refusals.check_hidden_splits(["a/cat", "b/dog", "train"])
    with pytest.raises(InputError, match="like train and test below others"):
        refusals.check_hidden_splits(["a/train/cat", "b/test/cat"])
