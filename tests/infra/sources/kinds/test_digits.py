"""The digits are scikit-learn's, all of them, pixel by pixel."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from infra.errors import InputError, IntegrityError
from infra.sources.fit import fit
from infra.sources.kinds.digits import DigitsSource
from infra.sources.shape import Shape
from infra.sources.source import Entry


def entries() -> list[Entry]:
    found = list(DigitsSource().find())
    assert all(isinstance(entry, Entry) for entry in found)
    return found


def pixels(some: list[Entry]) -> NDArray[np.uint8]:
    source = DigitsSource()
    read = zip(some, source.read(some), strict=True)
    return np.stack(
        [fit(source.decode(entry, content), Shape(height=8, width=8, channels=1), "x")[0] for entry, content in read]
    )


def test_all_of_them_with_their_labels() -> None:
    found = entries()
    # The size that scikit-learn's documentation of load_digits states.
    assert len(found) == len({entry.name for entry in found}) == 1797
    assert [entry.label for entry in found] == [str(label) for label in load_digits().target]
    assert {entry.split for entry in found} == {""}
    assert {entry.file for entry in found} == {""}, "they are no file of the user's"


def test_every_pixel_is_the_count_spread_over_8_bits() -> None:
    images = pixels(entries())
    counts = load_digits().images
    assert np.abs(images - counts * 255 / 16).max() <= 0.5
    assert len(np.unique(images)) == 17
    assert {images.min(), images.max()} == {0, 255}
    assert np.array_equal(np.rint(images.astype(float) * 16 / 255), counts), "the counts can be told again"


def test_some_of_them_in_any_order() -> None:
    found = entries()
    assert np.array_equal(pixels([found[900], found[3]]), pixels(found)[[900, 3]])
    assert list(DigitsSource().read([])) == []


def test_finding_twice_is_the_same() -> None:
    assert entries() == entries()


def test_another_content_than_found() -> None:
    with pytest.raises(IntegrityError, match="changed since they were listed") as caught:
        list(DigitsSource().read([replace(entries()[3], stamp="0" * 64)]))
    assert caught.value.exit_code == 6


def test_a_changed_pixel_changes_the_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    before = entries()[0].stamp
    counts = load_digits()
    images = np.rint(counts.images * 255 / 16).astype(np.uint8)
    images[5, 2, 2] ^= 1
    monkeypatch.setattr("infra.sources.kinds.digits._load", lambda: (images, counts.target))
    assert entries()[0].stamp != before


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.sources.kinds.digits.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        entries()


def test_scikit_learn_without_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("infra.sources.kinds.digits.find_spec", lambda _: spec)
    with pytest.raises(InputError, match=r"digits\.csv\.gz: cannot be read.*reinstall"):
        entries()
