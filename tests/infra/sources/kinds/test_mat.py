"""MATLAB files as SciPy writes them: images, labels and splits come back as saved, and damage is named."""

import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from infra.errors import DdpmError, InputError, IntegrityError, Term
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.mat import MatSource
from infra.sources.reading import Reading
from infra.sources.source import Entry, NoClasses
from tests.infra.sources.placed import placed


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def source(folder: Path) -> MatSource:
    return MatSource(FileSet((str(folder),)))


def pixels(folder: Path, entries: list[Entry]) -> list[np.ndarray]:
    reader = source(folder)
    return [np.asarray(reader.decode(e, content)) for e, content in zip(entries, reader.read(entries), strict=True)]  # type: ignore[arg-type]


def saved(packed: bool = False, **variables: object) -> bytes:
    buffer = BytesIO()
    savemat(buffer, variables, do_compression=packed)
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(8, 6, 3, 5), (8, 6, 5), (8, 6, 1, 5), (8, 6, 4, 5)])
def test_every_image_as_saved(tmp_path: Path, packed: bool, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    (tmp_path / "a.mat").write_bytes(saved(packed, text="about", X=images, y=np.arange(5.0)[:, None]))
    found = placed(source(tmp_path))
    assert [entry.label for entry in found] == ["0", "1", "2", "3", "4"]
    assert len({entry.name for entry in found}) == 5
    expected = [images[..., n].squeeze() for n in range(5)]
    for some in (found, found[2:4], [found[3], found[0], found[1]]):
        chosen = [expected[int(entry.label)] for entry in some]
        assert all(np.array_equal(one, other) for one, other in zip(pixels(tmp_path, some), chosen, strict=True))


@pytest.mark.parametrize("packed", [False, True])
def test_svhn(tmp_path: Path, packed: bool) -> None:
    """The label 10 stands for the digit 0."""
    labels = np.array([[1], [9], [10], [2]], dtype=np.uint8)
    for split in ("train", "test"):
        (tmp_path / f"{split}_32x32.mat").write_bytes(saved(packed, X=noise(32, 32, 3, 4), y=labels))
    found = placed(source(tmp_path))
    assert [(entry.split, entry.label) for entry in found] == [
        (split, label) for split in ("test", "train") for label in ("1", "9", "0", "2")
    ]


def test_other_names_and_no_labels(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(saved(images=noise(4, 4, 3), labels=np.array([[7, 8, 9]])))
    (tmp_path / "b.mat").write_bytes(saved(faces=noise(4, 4, 2), sizes=np.array([1.5, 2])))
    assert [entry.label for entry in source(tmp_path).find()] == ["7", "8", "9", "", ""]  # type: ignore[union-attr]


ONE_HOT = np.eye(3)[[2, 0, 1, 1, 0]]
SEVERAL = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=np.uint8)
LABELS = {
    "one-hot rows": ({"y": ONE_HOT}, "", "20110", ""),
    "one-hot columns": ({"y": ONE_HOT.T}, "", "20110", ""),
    "several labels": ({"y": SEVERAL}, "", "", "a.mat[y]: several labels per image"),
    "one of several": ({"y": SEVERAL}, "column:1", "10001", ""),
    "one of several in columns": ({"y": SEVERAL.T}, "column:2", "01001", ""),
    "fractions": ({"y": np.arange(5) / 2}, "", "", "a.mat[y]: fractions"),
    "another number": ({"y": [1, 2]}, "", "", "a.mat: no variable of 5 labels (y [1, 2])"),
    "one fits": ({"y": np.arange(5), "classes": [7, 8, 9]}, "", "01234", ""),
    "two fit": (
        {"y": np.arange(5), "labels": np.arange(5)},
        "",
        "",
        "a.mat: several variables of labels (y [1, 5], labels [1, 5])",
    ),
    "one by name": ({"y": np.arange(5), "hair": np.arange(5) % 2}, "key:hair", "01010", ""),
}


@pytest.mark.parametrize(("variables", "chosen", "labels", "trouble"), LABELS.values(), ids=LABELS.keys())
def test_labels_are_classes_or_said_to_be_none(
    tmp_path: Path, variables: dict[str, object], chosen: str, labels: str, trouble: str
) -> None:
    (tmp_path / "a.mat").write_bytes(saved(X=noise(8, 6, 3, 5), **variables))
    found = list(MatSource(FileSet((str(tmp_path),)), Reading(labels=chosen or "auto")).find())
    assert "".join(entry.label for entry in found if isinstance(entry, Entry)) == labels
    assert [one.cause for one in found if isinstance(one, NoClasses)] == [trouble][: len(trouble)]


def test_no_such_labels(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(saved(X=noise(8, 6, 5), y=np.arange(5)))
    for chosen, says in (("key:hair", r"has no variable hair: .*y \[1, 5\]"), ("column:4", "has no column 4")):
        with pytest.raises(InputError, match=says) as caught:
            list(MatSource(FileSet((str(tmp_path),)), Reading(labels=chosen)).find())
        assert Term.LABELS in caught.value.remedy


REFUSED = {
    "images come first": (saved(X=noise(5, 8, 8, 3)), r"permute\(X, \[2 3 4 1\]\)"),
    "numbers of another type": (saved(X=np.zeros((8, 8, 3, 2))), "of float64, not uint8"),
    "no images": (saved(name="x", table=np.zeros((3, 2))), r"no images: its variables of numbers are table \[3, 2\]"),
    "two arrays": (saved(a=noise(4, 4, 3), b=noise(4, 4, 3)), "several images: .* save the images as X"),
    "HDF5": (b"MATLAB 7.3 MAT-file, Platform".ljust(600), r"format 7\.3, which is HDF5 - save it without -v7\.3"),
    "nothing": (b"", "is not a MATLAB file"),
    "text": (b"hello " * 99, "is not a MATLAB file"),
}


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        placed(source(tmp_path))
    assert caught.value.item == str(tmp_path / "a.mat")


@pytest.mark.parametrize("packed", [False, True])
def test_damage_gives_one_line_or_other_pixels(tmp_path: Path, packed: bool) -> None:
    whole = saved(packed, X=noise(8, 8, 3, 6), y=np.arange(6))
    dice, path = random.Random(0), tmp_path / "a.mat"
    for attempt in range(300):
        data = bytearray(whole)
        if attempt % 3 == 0:
            del data[dice.randrange(len(data)) :]
        else:
            place = dice.randrange(120, min(len(data) - 4, 400))
            data[place : place + 4] = dice.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", bytes(4), dice.randbytes(4)])
        path.write_bytes(data)
        said = ""
        try:
            pixels(tmp_path, placed(source(tmp_path)))
        except DdpmError as error:
            said = str(error)
        assert not said or str(path) in said or "holds no images" in said, said


def test_the_checksum_is_compared(tmp_path: Path) -> None:
    data = bytearray(saved(True, X=noise(4, 4, 3)))
    data[-1] ^= 1
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.mat: cannot be unpacked"):
        pixels(tmp_path, placed(source(tmp_path)))


def test_a_file_that_changed(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(saved(X=noise(4, 4, 3)))
    found = placed(source(tmp_path))
    (tmp_path / "a.mat").write_bytes(saved(X=noise(4, 5, 3)))
    with pytest.raises(IntegrityError, match=r"a\.mat: changed"):
        pixels(tmp_path, found)
