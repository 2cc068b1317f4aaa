"""The tar file has WebDataset's names, and neither a time nor an owner."""

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.exchange.selection import Selection
from flows.exchange.tar_file import tar_identity, write_tar
from tests.flows.exchange.sealed_images import sealed, selected


def write(file: Path, selection: Selection) -> int:
    counts: list[int] = []
    with file.open("xb") as opened:
        write_tar(opened, selection, b'{"id":"x"}', counts.append)
    return sum(counts)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("mode", ["r:", "r|"])
def test_pythons_tarfile_reads_it(channels: int, labelled: bool, mode: str, tmp_path: Path) -> None:
    images, reader = sealed(tmp_path / "root", channels, labelled=labelled)
    assert write(tmp_path / "a.tar", selected(reader)) == len(images)
    found: dict[str, bytes] = {}
    with tarfile.open(tmp_path / "a.tar", mode) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.isreg()
            opened = archive.extractfile(member)
            assert opened is not None
            found[member.name] = opened.read()
    suffixes = ("png", "cls") if labelled else ("png",)
    assert list(found) == [f"{number:06d}.{suffix}" for number in range(13) for suffix in suffixes]
    for number, image in enumerate(images):
        with Image.open(BytesIO(found[f"{number:06d}.png"])) as picture:
            assert picture.mode == {1: "L", 3: "RGB"}[channels]
            assert np.array_equal(np.asarray(picture).reshape(8, 8, channels), image.transpose(1, 2, 0))
        assert not labelled or int(found[f"{number:06d}.cls"]) == number % 3


def test_equal_images_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, reader = sealed(tmp_path / "root")
    write(tmp_path / "a.tar", selected(reader))
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(tmp_path / "b.tar", selected(reader))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_the_identity_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", selected(sealed(tmp_path / "root")[1]))
    assert tar_identity(tmp_path / "a.tar") == b'{"id":"x"}'
    with tarfile.open(tmp_path / "users.tar", "w") as archive:
        archive.add(tmp_path / "a.tar", "a.tar")
    (tmp_path / "text").write_text("text")
    for other in ("users.tar", "text", "root", "nothing"):
        assert tar_identity(tmp_path / other) == b""
