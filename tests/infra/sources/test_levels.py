"""Scaling to 8 bits: 16 bits as ever, and 8 bits untouched."""

import numpy as np

from infra.sources.levels import to_eight_bits, white_of


def test_sixteen_bits_are_divided_by_257() -> None:
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_eight_bits(values, 65535, "x"), np.rint(values / 257))


def test_eight_bits_are_the_same_array() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert to_eight_bits(values, white_of(values.dtype, 0, "x"), "x") is values


def test_above_white_all_is_white() -> None:
    assert to_eight_bits(np.array([99, 100, 101, 5000]), 100, "x").tolist() == [252, 255, 255, 255]
