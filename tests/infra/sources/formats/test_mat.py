"""The variables of a MATLAB file, packed or not: arrays of numbers alone, and runs of their bytes."""

from io import BytesIO

import numpy as np
import pytest
from scipy.io import savemat

from infra.errors import InputError
from infra.sources.formats.mat import MatFile

ARRAYS = {
    "bytes": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "wide": np.array([[1.5, -2.0]]),
    "whole": np.array([[70_000], [3]], dtype=np.int32),
}


def opened(packed: bool, **variables: object) -> MatFile:
    buffer = BytesIO()
    savemat(buffer, variables, do_compression=packed)
    return MatFile(buffer, len(buffer.getvalue()), "a.mat")


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_numbers_alone(packed: bool) -> None:
    mat = opened(packed, text="words", **ARRAYS, table={"a": 1}, cells=np.array(["a", 1], dtype=object))
    found = {one.name: one for one in mat.variables()}
    assert {name: one.shape for name, one in found.items()} == {name: array.shape for name, array in ARRAYS.items()}
    for name, array in ARRAYS.items():
        assert np.array_equal(mat.numbers(found[name]), array.ravel(order="F")), "the first index is the fastest"


@pytest.mark.parametrize("packed", [False, True])
def test_runs_of_bytes_in_any_order(packed: bool) -> None:
    mat = opened(packed, **ARRAYS)
    (variable,) = (one for one in mat.variables() if one.name == "bytes")
    expected = [ARRAYS["bytes"][..., n].tobytes(order="F") for n in range(4)]
    assert list(mat.chunks(variable, [1, 3, 0, 2], 6)) == [expected[n] for n in (1, 3, 0, 2)]


def test_a_shape_that_is_not_that_of_the_numbers() -> None:
    buffer = BytesIO()
    savemat(buffer, {"x": ARRAYS["bytes"]})
    data = bytearray(buffer.getvalue())
    shape = data.index(np.array(ARRAYS["bytes"].shape, dtype="<i4").tobytes())
    data[shape : shape + 4] = (1 << 20).to_bytes(4, "little")
    with pytest.raises(InputError, match=r"a\.mat: says that x holds \(1048576, 3, 4\) values in 24 bytes"):
        list(MatFile(BytesIO(data), len(data), "a.mat").variables())
