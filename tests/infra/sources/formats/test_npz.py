"""Broken .npz files are named."""

import struct
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from tests.infra.sources.kinds.test_arrays import GOOD, WHOLE, archive, entries, noise, source


def lying_size() -> bytes:
    """The directory says that the few bytes unpack to 2 GB."""
    place = WHOLE.rindex(b"PK\x01\x02")
    return WHOLE[: place + 24] + struct.pack("<I", 2 << 30) + WHOLE[place + 28 :]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "cannot be read as .npz"),
        (WHOLE[:-30], "cannot be read as .npz"),
        (WHOLE[:60], "cannot be read as .npz"),
        (GOOD, "cannot be read as .npz"),
        (WHOLE.replace(b"PK\x03\x04", b"PK\x03\x05"), "cannot be read as .npz"),
        (archive(), "its keys are none"),
        (archive(weights=noise(2, 2), biases=noise(2, 2)), "no images: its keys are weights, biases"),
        (archive(a_images=noise(3, 4, 4), b_images=noise(3, 4, 4)), "several images: its keys are a_images, b_images"),
        (archive(images=noise(3, 4, 4), labels=noise(2)), "there are 3 images"),
        (archive(images=noise(2, 2)), "has the shape"),
        (lying_size(), "unpack to"),
    ],
)
def test_a_broken_archive_is_named(tmp_path: Path, data: bytes, cause: str) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=cause) as caught:
        list(source(tmp_path).find())
    assert str(tmp_path / "a.npz") in caught.value.item


def test_damage_within_an_archive(tmp_path: Path) -> None:
    images = noise(3, 400, 400)
    np.savez(tmp_path / "a.npz", images=images)
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data.replace(images[2, 300].tobytes(), bytes(400)))
    found = entries(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read as \.npz .*CRC"):
        list(source(tmp_path).read(found[:1]))
