"""The folder holds one PNG per image and the table of labels; files that are not whole are written again."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.exchange import png
from flows.exchange.png_folder import whole_images, write_pngs
from tests.flows.exchange.sealed_images import sealed, selected


@pytest.mark.parametrize("channels", [1, 3])
def test_pillow_reads_them(channels: int, tmp_path: Path) -> None:
    images, reader = sealed(tmp_path / "root", channels)
    (tmp_path / "a").mkdir()
    write_pngs(tmp_path / "a", selected(reader), set(), lambda _: None)
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [
        *(f"{number:06d}.png" for number in range(13)),
        "metadata.csv",
    ]
    for number, image in enumerate(images):
        with Image.open(tmp_path / "a" / f"{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture).reshape(8, 8, channels), image.transpose(1, 2, 0))


def test_the_table_of_labels(tmp_path: Path) -> None:
    _, reader = sealed(tmp_path / "root")
    for name, classes in (("named", ("a", "b", "c,d")), ("numbered", ())):
        (tmp_path / name).mkdir()
        write_pngs(tmp_path / name, selected(reader, class_names=classes), set(), lambda _: None)
    with (tmp_path / "named" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {"file_name": "000002.png", "label": "2", "class_name": "c,d"}
    assert len(rows) == 13
    assert (tmp_path / "numbered" / "metadata.csv").read_text().startswith("file_name,label\n000000.png,0\n")


def test_no_table_without_labels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_pngs(tmp_path / "a", selected(sealed(tmp_path / "root", labelled=False)[1]), set(), lambda _: None)
    assert not (tmp_path / "a" / "metadata.csv").exists()


def test_only_files_with_their_end_are_whole(tmp_path: Path) -> None:
    content = png.encode_png(np.zeros((8, 8, 1), np.uint8))
    for name, data in {"a": content, "b": content[:-1], "c": b"", "d": bytes(len(content))}.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    (tmp_path / "e.png.part").write_bytes(content)
    assert whole_images(tmp_path) == {"a.png"}
