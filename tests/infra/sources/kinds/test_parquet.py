"""Parquet of images in the forms that people publish: every image, label and split as written, one page at a time."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from infra.errors import InputError, IntegrityError
from infra.outputs.images import encode_images
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.source import Content, Entry, Other
from tests.infra.sources.placed import placed

N = 7
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 5, 6, 3), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


ENCODED = [png(pixels) for pixels in PIXELS]
LABELS = [n % 3 for n in range(N)]


def hugging_face(names: list[str] | None = None, column: str = "image", label: str = "label") -> pa.Table:
    """A table as the library `datasets` writes it."""
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(ENCODED)], type=struct)
    feature = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    about = {"info": {"features": {column: {"_type": "Image"}, label: feature}}}
    table = pa.table({column: images, label: pa.array(LABELS, pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps(about)})


def source(folder: Path) -> ParquetSource:
    return ParquetSource(FileSet((str(folder),)))


def entries(folder: Path) -> list[Entry]:
    return placed(source(folder))


def contents(folder: Path) -> list[Content]:
    return list(source(folder).read(entries(folder)))


def pixels(folder: Path) -> NDArray[np.uint8]:
    found = entries(folder)
    reader = source(folder)
    decoded = []
    for entry, content in zip(found, reader.read(found), strict=True):
        assert isinstance(content, bytes)
        decoded.append(np.asarray(reader.decode(entry, content)))
    return np.stack(decoded)


@pytest.mark.parametrize("column", ["image", "img", "picture"])
@pytest.mark.parametrize("rows", [2, 3, 100])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd", "data_page_version": "2.0"}, {"use_dictionary": False}]
)
def test_hugging_face(tmp_path: Path, column: str, rows: int, options: dict[str, object]) -> None:
    names = ["cat", "dog", "eel"]
    table = hugging_face(names, column)
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet", row_group_size=rows, **options)
    found = entries(tmp_path)
    assert [entry.label for entry in found] == [names[label] for label in LABELS]
    assert [entry.at for entry in found] == [(n // rows, n % rows) for n in range(N)]
    assert {entry.split for entry in found} == {"train"}
    assert len({entry.name for entry in found}) == N
    assert contents(tmp_path) == ENCODED
    assert np.array_equal(pixels(tmp_path), PIXELS)
    assert list(source(tmp_path).read(found[1:5])) == ENCODED[1:5]


@pytest.mark.parametrize("name", ["image", "jpg", "png", "bytes", "whatever"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_column_of_bytes(tmp_path: Path, name: str, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"n": list(range(N)), name: pa.array(ENCODED, kind)}), tmp_path / "a.parquet")
    assert contents(tmp_path) == ENCODED
    assert {(entry.split, entry.label) for entry in entries(tmp_path)} == {("", "")}


def test_the_same_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for number, data in enumerate(ENCODED):
        (tmp_path / "files" / f"{number}.png").write_bytes(data)
    (tmp_path / "table").mkdir()
    pq.write_table(hugging_face(), tmp_path / "table" / "a.parquet")
    folder = FolderSource(FileSet((str(tmp_path / "files"),)))
    assert list(folder.read(placed(folder))) == contents(tmp_path / "table")


def test_our_own_pixels(tmp_path: Path) -> None:
    columns = {"label": pa.array([*LABELS[:-1], -1], pa.int64())}
    (tmp_path / "a.parquet").write_bytes(encode_images(PIXELS.transpose(0, 3, 1, 2), 0, columns, {}))
    assert np.array_equal(pixels(tmp_path), PIXELS)
    assert [entry.label for entry in entries(tmp_path)] == [*map(str, LABELS[:-1]), ""]
    assert contents(tmp_path) == [image.transpose(2, 0, 1).tobytes() for image in PIXELS]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array(LABELS, pa.uint8()), [str(label) for label in LABELS]),
        (pa.array([None, -1, *LABELS[2:]]), ["", "", *map(str, LABELS[2:])]),
        (pa.array(["cat", "dög", None, "", "e", "f", "g"]), ["cat", "dög", "", "", "e", "f", "g"]),
        (pa.array(["a"] * N, pa.large_string()), ["a"] * N),
        (pa.array(["a", "b"] * 3 + ["a"]).dictionary_encode(), ["a", "b"] * 3 + ["a"]),
    ],
    ids=["bytes", "some unknown", "text", "large text", "categories"],
)
@pytest.mark.parametrize("column", ["label", "labels", "fine_label", "class"])
def test_labels(tmp_path: Path, labels: pa.Array, expected: list[str], column: str) -> None:
    for use_dictionary in (True, False):
        table = pa.table({"image": ENCODED, column: labels})
        pq.write_table(table, tmp_path / "a.parquet", use_dictionary=use_dictionary, row_group_size=4)
        assert [entry.label for entry in entries(tmp_path)] == expected


def test_many_labels(tmp_path: Path) -> None:
    labels = [f"label {n % 9001}" for n in range(20_000)]
    table = pa.table({"image": [b"x" * 8] * len(labels), "label": labels})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=15_000, use_dictionary=["label"])
    assert [entry.label for entry in entries(tmp_path)] == labels


def test_splits_classes_and_others(tmp_path: Path) -> None:
    table = pa.table({"image": ENCODED[:1]})
    for name in ("cat/train-00000-of-00002", "validation-0", "test/cat/0", "dog/0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("x")
    assert next(iter(source(tmp_path).find())) == Other("README.md")
    assert [(entry.name, entry.split, entry.label) for entry in entries(tmp_path)] == [
        ("cat/train-00000-of-00002.parquet/000000", "train", "cat"),
        ("dog/0.parquet/000000", "", "dog"),
        ("test/cat/0.parquet/000000", "test", "cat"),
        ("validation-0.parquet/000000", "", ""),
    ]


def test_our_own_files_say_split_and_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        about = {"split": split, "class_names": ["cat", "dog"]}
        columns = {"label": pa.array([0, 1, -1], pa.int32())}
        data = encode_images(PIXELS[:3].transpose(0, 3, 1, 2), 0, columns, about)
        (tmp_path / f"000000-{split}.parquet").write_bytes(data)
    assert [(entry.split, entry.label) for entry in entries(tmp_path)] == [
        (split, label) for split in ("test", "train") for label in ("cat", "dog", "")
    ]


def test_images_that_are_not_there_are_told_one_by_one(tmp_path: Path) -> None:
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"bytes": ENCODED[0], "path": None}, None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b""}]
    pq.write_table(pa.table({"image": pa.array(rows, struct)}), tmp_path / "a.parquet")
    first, null, path, empty = contents(tmp_path)
    assert (first, empty) == (ENCODED[0], b"")
    assert "a.parquet[0,1]: is null" in str(null)
    assert "[0,2]: has no bytes, and files elsewhere are not followed" in str(path)
    with pytest.raises(InputError, match=r"a.parquet\[0,3\].*is empty"):
        source(tmp_path).decode(entries(tmp_path)[3], b"")


def test_null_in_a_column_of_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [ENCODED[0], None, ENCODED[2]]}), tmp_path / "a.parquet")
    found = contents(tmp_path)
    assert (found[0], found[2]) == (ENCODED[0], ENCODED[2])
    assert isinstance(found[1], InputError)


def test_our_own_pixels_of_another_size(tmp_path: Path) -> None:
    about = {"dtype": "uint8", "layout": "CHW", "shape": [3, 5, 6]}
    table = pa.table({"image": [bytes(90), bytes(89)]}).replace_schema_metadata({"ddpm.image": json.dumps(about)})
    pq.write_table(table, tmp_path / "a.parquet")
    found = contents(tmp_path)
    assert found[0] == bytes(90)
    assert "has 89 bytes, not those of (3, 5, 6)" in str(found[1])


def test_other_columns_are_not_read(tmp_path: Path) -> None:
    """Their data is damaged, and nobody notices."""
    filler = np.random.default_rng(1).bytes(1000)
    table = pa.table({"image": ENCODED, "rest": [[filler]] * N, "label": LABELS})
    pq.write_table(table, tmp_path / "a.parquet", compression="none")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data.replace(filler[:500], bytes(500)))
    assert contents(tmp_path) == ENCODED
    assert [entry.label for entry in entries(tmp_path)] == [str(label) for label in LABELS]


def test_a_file_that_changed(tmp_path: Path) -> None:
    pq.write_table(hugging_face(), tmp_path / "a.parquet")
    found = entries(tmp_path)
    pq.write_table(hugging_face().slice(1), tmp_path / "a.parquet")
    with pytest.raises(IntegrityError, match=r"a\.parquet: changed"):
        list(source(tmp_path).read(found))


def test_one_that_changes_between_row_groups(tmp_path: Path) -> None:
    pq.write_table(hugging_face(), tmp_path / "a.parquet", row_group_size=2)
    reading = source(tmp_path).read(entries(tmp_path))
    assert [next(reading), next(reading)] == ENCODED[:2]
    pq.write_table(hugging_face().slice(1), tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(IntegrityError, match="changed"):
        next(reading)
