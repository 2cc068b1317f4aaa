"""The .npz file is what guided-diffusion's evaluator and NumPy read, and writing it takes no memory to speak of."""

import gc
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flows.exchange.npz_file import npz_identity, write_npz
from flows.exchange.selection import Selection
from tests.flows.exchange.sealed_images import sealed, selected


def write(file: Path, selection: Selection) -> list[int]:
    counts: list[int] = []
    with file.open("xb") as opened:
        write_npz(opened, selection, b"identity", counts.append)
    return counts


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labelled", [True, False])
def test_numpy_reads_it(channels: int, labelled: bool, tmp_path: Path) -> None:
    images, reader = sealed(tmp_path / "root", channels, labelled=labelled)
    assert sum(write(tmp_path / "a.npz", selected(reader))) == len(images)
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == ({"arr_0", "arr_1"} if labelled else {"arr_0"})
        assert arrays["arr_0"].dtype == np.uint8
        assert np.array_equal(arrays["arr_0"], images.transpose(0, 2, 3, 1))
        if labelled:
            assert arrays["arr_1"].dtype == np.int64
            assert arrays["arr_1"].tolist() == [i % 3 for i in range(len(images))]


def test_the_evaluators_reader_can_stream_it(tmp_path: Path) -> None:
    """It takes the header apart by itself, and then reads image after image from the member."""
    images, reader = sealed(tmp_path / "root", 3)
    write(tmp_path / "a.npz", selected(reader))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive, archive.open("arr_0.npy") as member:
        assert np.lib.format.read_magic(member) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        assert (shape, fortran, dtype) == ((13, 8, 8, 3), False, np.dtype(np.uint8))
        for image in images:
            assert member.read(image.size) == image.transpose(1, 2, 0).tobytes()
        assert member.read() == b""
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


def test_the_bytes_hold_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, reader = sealed(tmp_path / "root")
    write(tmp_path / "a.npz", selected(reader))
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(tmp_path / "b.npz", selected(reader))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """12 MiB of images in files of 0.3 MiB; `numpy.savez` would hold them all."""
    _, reader = sealed(tmp_path / "root", 3, rows=((100, 100),) * 40, size=32)
    selection = selected(reader)
    write(tmp_path / "warm.npz", selected(sealed(tmp_path / "warm")[1]))  # so that imports and caches do not count
    gc.collect()
    tracemalloc.start()
    write(tmp_path / "a.npz", selection)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "a.npz").stat().st_size > 11 << 20
    assert peak < 3 << 20


def test_the_identity_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", selected(sealed(tmp_path / "root")[1]))
    assert npz_identity(tmp_path / "a.npz") == b"identity"
    np.savez(tmp_path / "users.npz", np.zeros(3))
    (tmp_path / "text").write_text("text")
    for other in ("users.npz", "text", "root", "nothing"):
        assert npz_identity(tmp_path / other) == b""
