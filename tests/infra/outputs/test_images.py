"""Images in Parquet come back pixel by pixel, from equal bytes for equal arguments, through the manifest alone."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import IntegrityError
from infra.outputs.images import DatasetReader, ImageFile, Images, decode_images, encode_images
from infra.outputs.manifest import Manifest, root_digest
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store


def noise(count: int, shape: tuple[int, int, int] = (3, 5, 5), seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 5), (3, 1, 1), (1, 33, 33)])
@pytest.mark.parametrize("count", [1, 2, 70])
def test_every_pixel_comes_back(shape: tuple[int, int, int], count: int) -> None:
    images = noise(count, shape)
    data = encode_images(images, 7, {"label": pa.array(range(count), type=pa.int32())}, {"rule": "r"})
    back, table = decode_images(data, "item")
    assert back.dtype == np.uint8
    assert np.array_equal(back, images)
    assert table["id"].to_pylist() == list(range(7, 7 + count))
    assert table["label"].to_pylist() == list(range(count))


def test_views_are_written_as_what_they_show() -> None:
    turned = noise(4).transpose(0, 1, 3, 2)[::-1]
    back, _ = decode_images(encode_images(turned, 0, {}, {}), "item")
    assert np.array_equal(back, turned)


def test_equal_arguments_give_equal_bytes_and_others_do_not() -> None:
    base = encode_images(noise(9), 0, {}, {"a": 1, "b": 2})
    assert base == encode_images(noise(9).copy(), 0, {}, {"b": 2, "a": 1})
    others = [
        encode_images(noise(9, seed=1), 0, {}, {"a": 1, "b": 2}),
        encode_images(noise(9), 1, {}, {"a": 1, "b": 2}),
        encode_images(noise(9), 0, {}, {"a": 1}),
        encode_images(noise(9), 0, {"label": pa.array([0] * 9)}, {"a": 1, "b": 2}),
    ]
    assert len({base, *others}) == 5


def test_anybody_can_read_it_by_its_own_description() -> None:
    """Plain pyarrow and the schema's metadata suffice, with plain column types."""
    images = noise(3)
    table = pq.read_table(BytesIO(encode_images(images, 0, {}, {"rule": "r"})))
    about = json.loads(table.schema.metadata[b"ddpm.image"])
    assert about == {"dtype": "uint8", "layout": "CHW", "shape": [3, 5, 5], "rule": "r"}
    assert table.schema.field("image").type == pa.binary()
    assert table.schema.field("id").type == pa.int64()
    first = np.frombuffer(table["image"][0].as_py(), dtype=about["dtype"]).reshape(about["shape"])
    assert np.array_equal(first, images[0])


@pytest.mark.parametrize(
    ("shape", "count", "sizes"),
    [
        ((3, 32, 32), 1024, [341, 341, 341, 1]),
        ((3, 256, 256), 12, [5, 5, 2]),
        ((1, 8, 8), 512, [512]),
        ((3, 1024, 1024), 2, [1, 1]),
    ],
)
def test_a_row_group_holds_a_mebibyte_of_pixels_or_one_image(
    shape: tuple[int, int, int], count: int, sizes: list[int]
) -> None:
    images = noise(count, shape)
    data = encode_images(images, 7, {}, {})
    about = pq.ParquetFile(BytesIO(data)).metadata
    assert [about.row_group(group).num_rows for group in range(about.num_row_groups)] == sizes
    file = ImageFile(BytesIO(data), "item")
    assert file.rows == count
    assert file.starts.tolist() == [sum(sizes[:group]) for group in range(len(sizes))]
    last, table = file.read([len(sizes) - 1])
    assert np.array_equal(last, images[count - sizes[-1] :])
    assert table["id"].to_pylist() == list(range(7 + count - sizes[-1], 7 + count))
    assert np.array_equal(decode_images(data, "item")[0], images)


def test_a_bit_flipped_in_a_page_is_caught_by_its_checksum() -> None:
    images = noise(64, (3, 16, 16))
    data = encode_images(images, 0, {}, {})
    column = pq.ParquetFile(BytesIO(data)).metadata.row_group(0).column(1)
    assert column.path_in_schema == "image"
    start, length = column.data_page_offset, column.total_compressed_size
    assert length > 40_000, "noise does not shrink"
    # The page's own header, which the checksum leaves out, holds little beside the smallest and the largest image.
    for place in range(start + 3 * 768, start + length, 97):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(IntegrityError, match=r"(?i)crc|checksum"):
            decode_images(bytes(changed), "item")


def parquet(table: pa.Table) -> bytes:
    buffer = BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def described(shape: object, column: pa.Array) -> bytes:
    metadata = {b"ddpm.image": json.dumps({"shape": shape}).encode()}
    return parquet(pa.table({"id": pa.array(range(len(column))), "image": column}).replace_schema_metadata(metadata))


def foreign() -> dict[str, bytes]:
    whole = encode_images(noise(3), 0, {}, {})
    four = pa.array([b"abcd", b"efgh"])
    return {
        "empty": b"",
        "text": b"id,image\n1,2\n" * 100,
        "magic only": b"PAR1PAR1",
        "cut": whole[:-10],
        "cut in front": whole[10:],
        "no metadata": parquet(pa.table({"id": [1], "image": [b"abcd"]})),
        "no image column": parquet(pa.table({"id": [1]}).replace_schema_metadata({b"ddpm.image": b'{"shape": [1]}'})),
        "metadata no JSON": parquet(
            pa.table({"image": four}).replace_schema_metadata({b"ddpm.image": b"{"}),
        ),
        "metadata no object": parquet(pa.table({"image": four}).replace_schema_metadata({b"ddpm.image": b"3"})),
        "other shape": described([1, 3, 3], four),
        "shape no list": described(7, four),
        "shape of text": described(["a"], four),
        "ragged": described([1, 2, 2], pa.array([b"abcd", b"efg"])),
        "null": described([1, 2, 2], pa.array([b"abcd", None])),
        "strings": described([1, 2, 2], pa.array(["abcd", "efgh"])),
        "numbers": described([1, 2, 2], pa.array([1, 2])),
    }


@pytest.mark.parametrize("kind", foreign())
def test_foreign_bytes_are_refused(kind: str) -> None:
    with pytest.raises(IntegrityError, match=r"x\.parquet") as caught:
        decode_images(foreign()[kind], "x.parquet")
    assert caught.value.exit_code == 6


def test_whatever_the_bytes_only_our_error_comes_out() -> None:
    whole = encode_images(noise(3), 0, {"label": pa.array([1, 2, 3], type=pa.int32())}, {})
    draw = random.Random(0)
    refused = 0
    for _ in range(1500):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        try:
            decode_images(bytes(changed), "x")
        except IntegrityError:
            refused += 1
    assert refused > 300


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    opened = open_store(str(tmp_path / "root"))
    opened.make()
    return opened


ROWS = (("train", 4), ("train", 3), ("test", 2))


@pytest.fixture
def sealed(store: LocalStore) -> tuple[Images, Manifest]:
    """Three units, of seven training images and two held-out ones; label i for image i."""
    images = noise(9)
    output = Output(store=store, plan=Plan(stage="d", format_version=1, settings={}, inputs={}))
    output.begin({})
    units, first = [], 0
    for number, (split, rows) in enumerate(ROWS):
        part = images[first : first + rows]
        labels = {"label": pa.array(range(first, first + rows), type=pa.int32())}
        facts = {"first_id": first, "split": split}
        record = output.commit(f"units/{number:06d}", "parquet", encode_images(part, first, labels, {}), facts)
        units.append({"unit": number, "rows": rows, **record.as_json()})
        first += rows
    return images, output.seal({}, units, {})


class TestReader:
    def test_everything(self, store: LocalStore, sealed: tuple[Images, Manifest]) -> None:
        images, manifest = sealed
        read, labels = DatasetReader(store=store, manifest=manifest).load()
        assert np.array_equal(read, images)
        assert labels.tolist() == list(range(9))
        assert labels.dtype == np.int32

    @pytest.mark.parametrize(("split", "part"), [("train", slice(0, 7)), ("test", slice(7, 9))])
    def test_a_split(self, store: LocalStore, sealed: tuple[Images, Manifest], split: str, part: slice) -> None:
        images, manifest = sealed
        read, labels = DatasetReader(store=store, manifest=manifest).load(split)
        assert np.array_equal(read, images[part])
        assert labels.tolist() == list(range(9))[part]

    @pytest.mark.parametrize("limit", [1, 4, 5, 7, 8, 9, 100])
    def test_a_limit(self, store: LocalStore, sealed: tuple[Images, Manifest], limit: int) -> None:
        images, manifest = sealed
        read, labels = DatasetReader(store=store, manifest=manifest).load(limit=limit)
        assert np.array_equal(read, images[:limit])
        assert len(labels) == len(read)

    def test_rows_beyond_those_that_count_are_left_out(
        self, store: LocalStore, sealed: tuple[Images, Manifest]
    ) -> None:
        images, manifest = sealed
        units = [manifest.units[0], manifest.units[1] | {"rows": 1}]
        shorter = replace(manifest, units=units, digest=root_digest(units))
        read, _ = DatasetReader(store=store, manifest=shorter).load()
        assert np.array_equal(read, images[:5])

    def test_no_such_split(self, store: LocalStore, sealed: tuple[Images, Manifest]) -> None:
        with pytest.raises(IntegrityError, match="no images of split 'other'"):
            DatasetReader(store=store, manifest=sealed[1]).load("other")

    @pytest.mark.parametrize("change", [{"rows": 5}, {"facts": {"first_id": 1, "split": "train"}}])
    def test_other_rows_than_promised(
        self, store: LocalStore, sealed: tuple[Images, Manifest], change: dict[str, object]
    ) -> None:
        manifest = sealed[1]
        wrong = replace(manifest, units=[manifest.units[0] | change])
        with pytest.raises(IntegrityError, match=r"other rows|fewer rows"):
            DatasetReader(store=store, manifest=wrong).load()

    def test_a_changed_byte(self, store: LocalStore, sealed: tuple[Images, Manifest]) -> None:
        manifest = sealed[1]
        file = store.root / manifest.folder / manifest.units[1]["file"]
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        with pytest.raises(IntegrityError, match="differs from its digest"):
            DatasetReader(store=store, manifest=manifest).load()
        DatasetReader(store=store, manifest=manifest).load("test")

    def test_files_that_the_manifest_does_not_name_are_not_read(
        self, store: LocalStore, sealed: tuple[Images, Manifest]
    ) -> None:
        images, manifest = sealed
        store.put_if_absent(f"{manifest.folder}/units/000003.parquet", encode_images(noise(5, seed=3), 9, {}, {}))
        assert np.array_equal(DatasetReader(store=store, manifest=manifest).load()[0], images)

    def test_without_labels(self, store: LocalStore) -> None:
        output = Output(store=store, plan=Plan(stage="d", format_version=2, settings={}, inputs={}))
        output.begin({})
        facts = {"first_id": 0, "split": "samples"}
        record = output.commit("units/000000", "parquet", encode_images(noise(3), 0, {}, {}), facts)
        manifest = output.seal({}, [{"unit": 0, "rows": 3, **record.as_json()}], {})
        assert DatasetReader(store=store, manifest=manifest).load()[1].tolist() == [-1, -1, -1]


def test_no_thread_of_arrow_decodes(tmp_path: Path) -> None:
    """A thread that outlives the interpreter aborts the process when it releases bytes that Python owns."""
    (tmp_path / "a.parquet").write_bytes(encode_images(noise(8), 0, {}, {}))
    program = """
import os, pathlib, sys
from io import BytesIO
import pyarrow as pa, pyarrow.parquet as pq
from infra.outputs.images import decode_images
pa.set_io_thread_count(1)
data = pathlib.Path(sys.argv[1]).read_bytes()
pq.ParquetFile(BytesIO(data), pre_buffer=True).read_row_groups([0], use_threads=False)
before = len(os.listdir("/proc/self/task"))
decode_images(data, "")
print(len(os.listdir("/proc/self/task")) - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a.parquet")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
