"""Arrow files in the forms that people have: every image, label and split as written, and damage named."""

import json
import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from infra.errors import DdpmError, InputError, IntegrityError
from infra.outputs.images import encode_images
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.arrow import ArrowSource
from infra.sources.source import Content, Entry, NoClasses, Other
from tests.infra.sources.placed import placed
from tests.pictures import encoded, picture

N = 7
ENCODED = [encoded(picture(n)) for n in range(N)]
LABELS = [n % 3 for n in range(N)]
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def hugging_face(names: list[str] | None = None) -> pa.Table:
    """A table as the library `datasets` holds it."""
    images = pa.array([{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(ENCODED)], type=STRUCT)
    feature = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    table = pa.table({"image": images, "label": pa.array(LABELS, pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps(about)})


def written(table: pa.Table, *, form: str = "stream", codec: str | None = None, rows: int = 3) -> bytes:
    sink = BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    make = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with make(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def source(folder: Path) -> ArrowSource:
    return ArrowSource(FileSet((str(folder),)))


def contents(folder: Path, entries: list[Entry] | None = None) -> list[Content]:
    return list(source(folder).read(placed(source(folder)) if entries is None else entries))


@pytest.mark.parametrize("form", ["stream", "file"])
@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_every_image_and_label_as_written(tmp_path: Path, form: str, codec: str | None, rows: int) -> None:
    (tmp_path / "a.arrow").write_bytes(written(hugging_face(), form=form, codec=codec, rows=rows))
    found = placed(source(tmp_path))
    assert [entry.label for entry in found] == [str(label) for label in LABELS]
    assert [entry.name for entry in found] == [f"a.arrow/{n:06d}" for n in range(N)]
    assert contents(tmp_path, found) == ENCODED
    assert contents(tmp_path, found[2:5]) == ENCODED[2:5]
    assert contents(tmp_path, [found[5], found[1], found[2]]) == [ENCODED[5], ENCODED[1], ENCODED[2]]
    assert source(tmp_path).decode(found[4], ENCODED[4]).tobytes() == picture(4).tobytes()


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    """A DatasetDict: the splits are folders, the names of classes are in the schema."""
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "data-00000-of-00001.arrow").write_bytes(written(hugging_face(["cat", "dog", "eel"])))
        for name in ("dataset_info.json", "state.json"):
            (tmp_path / split / name).write_text("{}")
    found = placed(source(tmp_path))
    names = ["cat", "dog", "eel"]
    assert [(entry.split, entry.label) for entry in found] == [
        (split, names[label]) for split in ("test", "train") for label in LABELS
    ]
    assert sum(isinstance(other, Other) for other in source(tmp_path).find()) == 5
    assert contents(tmp_path) == ENCODED * 2


BEFORE = {
    "nothing": {},
    "numbers and texts": {"a": [1.5] * N, "b": ["x", None] * 3 + ["y"], "c": [True] * N},
    "lists and structs": {"a": [[[1], []], None] * 3 + [[]], "b": [{"x": 1, "y": ["z"]}] * N},
    "nothing but nulls": {"a": [None] * N},
    "categories": {"a": pa.array(["u", "v", "u", "v", "w", "u", "u"]).dictionary_encode()},
    "boxes": {
        "a": pa.array([[1.0, 2.0]] * N, pa.list_(pa.float32(), 2)),
        "b": pa.array([[(1, 2)]] * N, pa.map_(pa.int8(), pa.int8())),
    },
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), STRUCT, pa.struct({"path": pa.string(), "bytes": pa.large_binary()})]
)
def test_other_columns_and_types(tmp_path: Path, before: str, kind: pa.DataType) -> None:
    images = [{"bytes": data, "path": "p"} for data in ENCODED] if pa.types.is_struct(kind) else ENCODED
    columns = {**BEFORE[before], "image": pa.array(images, kind), "label": [None, "b", "c", "", "e", "f", "g"]}
    (tmp_path / "a.arrow").write_bytes(written(pa.table(columns), rows=4))
    found = placed(source(tmp_path))
    assert [entry.label for entry in found] == ["", "b", "c", "", "e", "f", "g"]
    assert contents(tmp_path, found) == ENCODED


def test_fixed_size_and_a_slice_and_feather(tmp_path: Path) -> None:
    """The images of a slice do not begin at the beginning of its buffer."""
    table = pa.table({"image": pa.array([b"abc", b"def", b"ghi", b"jkl"], pa.binary(3)), "label": [1, 2, 3, 4]})
    feather.write_feather(table.slice(1, 3), str(tmp_path / "a.feather"))
    (tmp_path / "b.arrow").write_bytes(written(hugging_face().slice(2, 4)))
    assert contents(tmp_path) == [b"def", b"ghi", b"jkl", *ENCODED[2:6]]
    assert [entry.label for entry in placed(source(tmp_path))] == ["2", "3", "4", "2", "0", "1", "2"]


def test_our_own_pixels(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    table = pq.read_table(pa.BufferReader(encode_images(pixels, 0, {"label": pa.array([1, 0], pa.int64())}, {})))
    (tmp_path / "a.arrow").write_bytes(written(table))
    reader = source(tmp_path)
    found = placed(reader)
    decoded = [reader.decode(entry, content) for entry, content in zip(found, reader.read(found), strict=True)]
    assert np.array_equal(np.stack([np.asarray(image) for image in decoded]), pixels.transpose(0, 2, 3, 1))


def test_a_row_without_bytes_is_bad_and_the_rest_is_served(tmp_path: Path) -> None:
    rows = [{"bytes": ENCODED[0], "path": None}, {"bytes": None, "path": "/elsewhere.png"}, None]
    (tmp_path / "a.arrow").write_bytes(written(pa.table({"image": pa.array(rows, STRUCT)})))
    first, elsewhere, null = contents(tmp_path)
    assert first == ENCODED[0]
    for bad in (elsewhere, null):
        assert isinstance(bad, InputError)
        assert "has no bytes" in bad.cause


def test_row_numbers_of_shuffled_data_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "indices.arrow").write_bytes(written(pa.table({"indices": pa.array([2, 1], pa.uint64())})))
    assert list(source(tmp_path).find()) == [Other("indices.arrow")]


CATEGORIES = ["b", "a", None, "c", "a", "b", "a"]
LISTS = {
    "one each": (pa.array([[2], [0], [1], [0], [2], [1], [0]]), "2010210", ""),
    "one-hot": (pa.array(np.eye(3, dtype=np.int8)[LABELS].tolist(), pa.list_(pa.int8(), 3)), "0120120", ""),
    "several": (pa.array([[0, 1], [2], [], [1], [0], [1], [2, 0]], pa.large_list(pa.int64())), None, "several labels"),
    "words": (pa.array([["a", "b"]] * N), None, "several labels"),
    "several categories": (pa.array([0, 1, 2, 0, 1, 2, 0]).dictionary_encode(), "0120120", ""),
}


@pytest.mark.parametrize("form", ["stream", "file"])
@pytest.mark.parametrize("codec", [None, "zstd"])
def test_categories_are_the_words_that_they_stand_for(tmp_path: Path, form: str, codec: str | None) -> None:
    """Those of the column and of no other, in one piece or as they come up."""
    other = pa.array(["x", "y", "x", "y", "x", "y", "x"]).dictionary_encode()
    table = pa.table({"other": other, "image": ENCODED, "label": pa.array(CATEGORIES).dictionary_encode()})
    (tmp_path / "a.arrow").write_bytes(written(table, form=form, codec=codec))
    assert [entry.label for entry in placed(source(tmp_path))] == [label or "" for label in CATEGORIES]
    assert contents(tmp_path) == ENCODED


@pytest.mark.parametrize("deltas", [False, True])
def test_categories_that_change_from_batch_to_batch(tmp_path: Path, deltas: bool) -> None:
    known = ["a", "b"], ["a", "b", "c"] if deltas else ["z", "a", "q", "c"]
    numbers = [1, 0, None], [2, 0, 1, 0] if deltas else [3, 1, 0, 1]
    sink = BytesIO()
    batches = [
        pa.record_batch(
            {"image": some, "label": pa.DictionaryArray.from_arrays(pa.array(at, pa.int8()), pa.array(names))}
        )
        for some, at, names in zip((ENCODED[:3], ENCODED[3:]), numbers, known, strict=True)
    ]
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    (tmp_path / "a.arrow").write_bytes(sink.getvalue())
    expected = ["b", "a", "", *(["c", "a", "b", "a"] if deltas else ["c", "a", "z", "a"])]
    assert [entry.label for entry in placed(source(tmp_path))] == expected


@pytest.mark.parametrize(("labels", "expected", "trouble"), LISTS.values(), ids=LISTS.keys())
def test_lists_as_labels(tmp_path: Path, labels: pa.Array, expected: str | None, trouble: str) -> None:
    (tmp_path / "a.arrow").write_bytes(written(pa.table({"before": [["x"]] * N, "image": ENCODED, "label": labels})))
    found = list(source(tmp_path).find())
    assert any(isinstance(one, NoClasses) and trouble in one.cause for one in found) == bool(trouble)
    if expected is not None:
        assert [entry.label for entry in found if isinstance(entry, Entry)] == [*expected]


def test_a_list_of_far_too_many_labels(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(written(pa.table({"image": ENCODED[:1], "label": [[0] * 100_001]})))
    with pytest.raises(InputError, match="has a row of 100001 labels - repair it, or set the way to label=none"):
        placed(source(tmp_path))


REFUSED = {
    "no column of images": (pa.table({"text": ["a"]}), "has no column of images"),
    "a label beyond the names": (
        hugging_face(["cat"]),
        "has the label 1 of 1",
    ),
    "views before the images": (
        pa.table({"a": pa.array(["x"], pa.string_view()), "image": ENCODED[:1]}),
        "string_view before the images - save it without that column",
    ),
}


@pytest.mark.parametrize(("table", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_named(tmp_path: Path, table: pa.Table, says: str) -> None:
    (tmp_path / "a.arrow").write_bytes(written(table))
    with pytest.raises(InputError, match=says) as caught:
        placed(source(tmp_path))
    assert caught.value.item == str(tmp_path / "a.arrow")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"ARROW1\0\0", bytes(4096), b"\xff" * 64, b"ARROW1\0\0" + bytes(99)])
def test_what_is_no_arrow_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.arrow"):
        placed(source(tmp_path))


@pytest.mark.parametrize("form", ["stream", "file"])
@pytest.mark.parametrize("codec", [None, "zstd"])
@pytest.mark.parametrize("labelled", [False, True], ids=["plain", "categories"])
def test_damage_gives_one_line_or_other_bytes_and_takes_no_memory(
    tmp_path: Path, form: str, codec: str | None, labelled: bool
) -> None:
    """Every length of the file, and numbers of any size in its place."""
    labels = pa.array([CATEGORIES[n] for n in range(N)]).dictionary_encode()
    whole = written(
        pa.table({"image": ENCODED, "label": labels}) if labelled else hugging_face(), form=form, codec=codec
    )
    dice = random.Random(0)
    path = tmp_path / "a.arrow"
    for attempt in range(400):
        data = bytearray(whole)
        if attempt % 4 == 0:
            del data[dice.randrange(len(data)) :]
        else:
            place = dice.randrange(len(data) - 8)
            data[place : place + 4] = dice.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", bytes(4), dice.randbytes(4)])
        path.write_bytes(data)
        said, found = "", []
        try:
            found = contents(tmp_path)
        except DdpmError as error:
            said = str(error)
        assert all(isinstance(content, InputError) or len(content) < 1 << 20 for content in found)
        assert not said or str(path) in said or "holds no images" in said, said


def test_a_false_size_of_a_compressed_buffer_is_refused(tmp_path: Path) -> None:
    table = pa.table({"image": [b"a" * 5000] * 4})
    data = bytearray(written(table, codec="zstd", rows=4))
    size = data.index((20_000).to_bytes(8, "little"))
    data[size : size + 8] = (1 << 40).to_bytes(8, "little")
    (tmp_path / "a.arrow").write_bytes(data)
    with pytest.raises(InputError, match=f"that unpacks to {1 << 40} - save it without compression"):
        contents(tmp_path)


def test_a_file_that_changed(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(written(hugging_face()))
    found = placed(source(tmp_path))
    (tmp_path / "a.arrow").write_bytes(written(hugging_face().slice(1)))
    with pytest.raises(IntegrityError, match=r"a\.arrow: changed"):
        contents(tmp_path, found)
