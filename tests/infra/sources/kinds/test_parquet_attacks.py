"""Parquet that is damaged, lies or unpacks to gigabytes: one line that names the file, in little memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.source import Entry

TOP = Path(__file__).parents[4]
IMAGES = [np.random.default_rng(n).bytes(400) for n in range(20)]
LABELS = [n % 3 for n in range(20)]


def written(table: pa.Table, **options: object) -> bytes:
    buffer = BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def table(**columns: object) -> bytes:
    return written(pa.table(columns))


def with_metadata(**metadata: str) -> bytes:
    names = {name.replace("_", "."): text for name, text in metadata.items()}
    return written(pa.table({"image": IMAGES, "label": LABELS}).replace_schema_metadata(names))


def with_extension(name: str) -> bytes:
    field = pa.field("image", pa.binary(), metadata={"ARROW:extension:name": name, "ARROW:extension:metadata": "x"})
    return written(pa.Table.from_arrays([pa.array(IMAGES, pa.binary())], schema=pa.schema([field])))


def features(names: object) -> str:
    return json.dumps({"info": {"features": {"label": {"names": names}}}})


def two_columns_of_one_name() -> bytes:
    return written(pa.Table.from_arrays([pa.array(IMAGES)] * 2, names=["image", "image"]))


def opaque() -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.opaque(pa.binary(), "a", "b"), pa.array(IMAGES))


GOOD = table(image=IMAGES, label=LABELS)
CHECKED = written(pa.table({"image": IMAGES}), write_page_checksum=True, compression="none", use_dictionary=False)
OWN = {"dtype": "uint8", "layout": "CHW", "shape": [1, 20, 20]}
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "cannot be read as Parquet"),
    "magic only": (lambda: b"PAR1", "cannot be read as Parquet"),
    "magic twice": (lambda: b"PAR1PAR1", "cannot be read as Parquet"),
    "text": (lambda: b"hello, I am no Parquet", "cannot be read as Parquet"),
    "another format": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(500), "cannot be read as Parquet"),
    "cut": (lambda: GOOD[:-1], "cannot be read as Parquet"),
    "half": (lambda: GOOD[: len(GOOD) // 2], "cannot be read as Parquet"),
    "encrypted": (lambda: GOOD[:-4] + b"PARE", "cannot be read as Parquet"),
    "footer of 4 GB": (lambda: GOOD[:-8] + b"\xff\xff\xff\xffPAR1", "cannot be read as Parquet"),
    "footer of nothing": (lambda: GOOD[:-8] + bytes(4) + b"PAR1", "cannot be read as Parquet"),
    "footer of noise": (lambda: b"PAR1" + b"\xa5" * 100 + b"\x64\0\0\0PAR1", "cannot be read as Parquet"),
    "no columns": (lambda: written(pa.table({})), "no column of images"),
    "no images": (lambda: table(text=["a"], n=[1]), "no column of images: text, n"),
    "two candidates": (lambda: table(a=IMAGES, b=IMAGES), "several images in a sample: a, b"),
    "a name twice": (two_columns_of_one_name, "has a column twice"),
    "text as images": (lambda: table(image=["a"]), "column image of the type string"),
    "numbers as images": (lambda: table(image=[1]), "column image of the type int64"),
    "lists as images": (lambda: table(image=[[1, 2]]), "column image of the type list"),
    "a struct without bytes": (lambda: table(image=[{"path": "a.png"}]), "column image of the type struct"),
    "bytes that are text": (lambda: table(image=[{"bytes": "a", "path": "b"}]), "column image of the type struct"),
    "pickled by Ray": (lambda: with_extension("ray.data.arrow_pickled_object"), "ray.data.arrow_pickled_object"),
    "pickled by Arrow": (lambda: with_extension("arrow.py_extension_type"), "type arrow.py_extension_type"),
    # Where Ray has been imported, its own type already fails to make sense of this one.
    "tensors of Ray": (lambda: with_extension("ray.data.arrow_tensor_v2"), ""),
    "known extension": (lambda: table(image=opaque()), "of the type"),
    "labels of bytes": (lambda: table(image=IMAGES[:1], label=[b"a"]), "labels of the type"),
    "labels of lists of lists": (lambda: table(image=IMAGES[:1], label=[[[1]]]), "labels of the type list"),
    "labels of times": (lambda: table(image=IMAGES[:1], label=pa.array([1], pa.timestamp("s"))), "type timestamp"),
    "a long label": (lambda: table(image=IMAGES[:1], label=["a" * 300]), "label of over 256"),
    "too few names": (lambda: with_metadata(huggingface=features(["a", "b"])), "label 2 of 2"),
    "names of no text": (lambda: with_metadata(huggingface=features([1, 2, 3])), "names of label"),
    "no JSON": (lambda: with_metadata(huggingface="{"), "no JSON"),
    "nested JSON": (lambda: with_metadata(huggingface="[" * 200_000), "no JSON"),
    "our pixels of floats": (lambda: with_metadata(ddpm_image=json.dumps(OWN | {"dtype": "float32"})), "not know"),
    "our pixels of no shape": (lambda: with_metadata(ddpm_image=json.dumps(OWN | {"shape": "big"})), "not know"),
    "our pixels of no size": (lambda: with_metadata(ddpm_image=json.dumps(OWN | {"shape": [3, 0, 9]})), "not know"),
    "rows beyond the file": (lambda: table(image=[b"x"] * 500_000), "says it holds 500000 images"),
    "damaged page": (lambda: CHECKED.replace(IMAGES[7], bytes(400)), "cannot be read as Parquet (.*CRC"),
    "damaged page header": (lambda: GOOD[:4] + b"\xff" * 40 + GOOD[44:], "page"),
    "page header of nothing": (lambda: GOOD[:4] + bytes(40) + GOOD[44:], "damaged page"),
}  # fmt: skip


def read(folder: Path) -> None:
    source = ParquetSource(FileSet((str(folder),)))
    for _ in source.read([entry for entry in source.find() if isinstance(entry, Entry)]):
        pass


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, kind: str) -> None:
    make, cause = BROKEN[kind]
    (tmp_path / "a.parquet").write_bytes(make())
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    begin, _, end = cause.partition(".*")
    assert begin in str(caught.value)
    assert end in str(caught.value)
    assert str(tmp_path / "a.parquet") in caught.value.item
    assert "\n" not in str(caught.value)


def repeated(value: bytes, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([value])).cast(pa.binary())


def repeated_text(count: int) -> pa.Array:
    text = pa.array(["a" * (1 << 20)])
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), text)


BOMBS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a dictionary of one image": (
        lambda: written(pa.table({"image": repeated(bytes(1 << 20), 400)}), compression="zstd"), 600, "over 64 times",
    ),
    "the same in a struct": (
        lambda: written(pa.table({"image": pa.StructArray.from_arrays([repeated(bytes(1 << 20), 512)], ["bytes"])}),
                        compression="zstd"), 700, "over 64 times",
    ),
    "one page": (
        lambda: written(pa.table({"image": repeated(bytes(1 << 20), 512)}), compression="zstd", use_dictionary=False),
        30_000, "unpacks to 53",
    ),
    "a dictionary page": (
        lambda: written(pa.table({"image": [bytes(300 << 20)]}), compression="zstd"), 30_000, "that unpacks to 314",
    ),
    "a label": (
        lambda: written(pa.table({"image": IMAGES * 20, "label": repeated_text(400)}), compression="zstd"),
        20_000, "label of over 256",
    ),
}  # fmt: skip
MEASURE = """
import resource, sys
from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.source import Entry

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before, source = peak(), ParquetSource(FileSet((sys.argv[1],)))
try:
    for content in source.read([entry for entry in source.find() if isinstance(entry, Entry)]):
        pass
except InputError as error:
    print(peak() - before, error)
"""


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_ends_in_little_memory(tmp_path: Path, kind: str) -> None:
    make, size, cause = BOMBS[kind]
    data = make()
    assert len(data) < size
    (tmp_path / "a.parquet").write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TOP, timeout=100)
    extra, _, line = done.stdout.partition(" ")
    assert cause in line
    assert "a.parquet" in line
    assert int(extra) < 300


def test_images_that_repeat_are_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(written(pa.table({"image": repeated(IMAGES[0] * 10, 2000)})))
    source = ParquetSource(FileSet((str(tmp_path),)))
    found = [entry for entry in source.find() if isinstance(entry, Entry)]
    assert list(source.read(found)) == [IMAGES[0] * 10] * 2000


def test_pages_that_pack_little_are_no_bomb(tmp_path: Path) -> None:
    image = np.random.default_rng(0).bytes(5 << 20)
    (tmp_path / "a.parquet").write_bytes(written(pa.table({"image": [image] * 20}), use_dictionary=False))
    read(tmp_path)


def test_damage_anywhere_is_an_input_error_or_none(tmp_path: Path) -> None:
    whole = written(pa.table({"image": IMAGES[:4], "label": LABELS[:4]}), write_page_checksum=True)
    random = np.random.default_rng(0)
    for number in range(300):
        changed = bytearray(whole)
        changed[int(random.integers(len(whole)))] ^= 1 << int(random.integers(8))
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.parquet").write_bytes(changed)
        try:
            read(folder)
        except InputError as error:
            assert "a.parquet" in str(error)  # noqa: PT017 - a change of a name or of statistics does no harm
