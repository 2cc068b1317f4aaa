"""Label arrays as classes; broken ones are in test_npy.py."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.errors import InputError, Term
from infra.sources.formats.npy_labels import label_texts


def stored(array: NDArray[np.generic]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (np.array([2, 0, -1]), ["2", "0", "-1"]),
        (np.array([2.0, 0.0, np.nan], np.float32), ["2", "0", ""]),
        (np.array([True, False, True]), ["true", "false", "true"]),
        (np.eye(3, dtype=np.uint8)[[2, 0, 1]], ["2", "0", "1"]),
        (np.eye(3)[[2, 0, 1]], ["2", "0", "1"]),
        (np.eye(3, dtype=bool)[[2, 0, 1]], ["2", "0", "1"]),
        (np.array([["a"], ["b"], ["a"]]), ["a", "b", "a"]),
    ],
    ids=["integers", "floats", "truth", "one-hot", "one-hot floats", "one-hot truth", "a column of words"],
)
def test_classes(array: NDArray[np.generic], texts: list[str]) -> None:
    assert label_texts(stored(array), 3, "a") == (texts, "")


@pytest.mark.parametrize(
    ("array", "trouble"),
    [
        (np.array([[0, 1], [1, 1], [0, 0]]), "several labels per image"),
        (np.array([[0, 2], [2, 0], [2, 0]]), "several labels per image"),
        (np.array([["a", "b"]] * 3), "several labels per image"),
        (np.array([0.5, 1, 2]), "fractions"),
        (np.array([np.inf, 1, 2]), "fractions"),
    ],
)
def test_no_classes(array: NDArray[np.generic], trouble: str) -> None:
    assert label_texts(stored(array), 3, "a") == ([], trouble)


def test_one_column_of_several() -> None:
    array = np.array([[0, 1], [1, 1], [0, 0]])
    assert label_texts(stored(array), 3, "a", column=1) == (["1", "1", "0"], "")
    assert label_texts(stored(np.array([["a", "b"], ["c", "é"], ["e", "f"]])), 3, "a", column=1) == (
        ["b", "é", "f"],
        "",
    )
    with pytest.raises(InputError, match="has no column 2: its columns are 0 to 1") as caught:
        label_texts(stored(array), 3, "a", column=2)
    assert Term.LABELS in caught.value.remedy
