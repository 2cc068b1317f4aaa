"""The digits are scikit-learn's, all of them, pixel by pixel."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from infra.errors import InputError, IntegrityError
from infra.sources.digits import DigitsSource
from infra.sources.source import Item, fit


def test_all_of_them_with_their_labels() -> None:
    listing = DigitsSource().list()
    # The size that scikit-learn's documentation of load_digits states.
    assert len(listing.items) == 1797
    assert [item.label for item in listing.items] == load_digits().target.tolist()
    assert listing.class_names == list("0123456789")
    assert len({item.name for item in listing.items}) == 1797
    assert {item.split for item in listing.items} == {""}


def test_every_pixel_is_the_count_spread_over_8_bits() -> None:
    source = DigitsSource()
    read = source.reader()
    images = np.stack([fit(read(i), channels=1, size=8, name=i.name)[0] for i in source.list().items])
    counts = load_digits().images
    assert np.abs(images - counts * 255 / 16).max() <= 0.5
    assert len(np.unique(images)) == 17
    assert {images.min(), images.max()} == {0, 255}
    assert np.array_equal(np.rint(images.astype(float) * 16 / 255), counts), "the counts can be told again"


def test_listing_twice_is_the_same() -> None:
    assert DigitsSource().list() == DigitsSource().list()


def test_another_content_than_listed() -> None:
    with pytest.raises(IntegrityError, match="digits/0003"):
        DigitsSource().reader()(Item(name="digits/0003", digest="0" * 64))


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.sources.digits.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        DigitsSource().list()


def test_scikit_learn_without_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("infra.sources.digits.find_spec", lambda _: spec)
    with pytest.raises(InputError, match=r"digits\.csv\.gz: cannot be read.*reinstall"):
        DigitsSource().list()
