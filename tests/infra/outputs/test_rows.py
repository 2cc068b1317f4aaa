"""Random access by number: few images in memory, each file verified on first use, then read by row groups."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import IntegrityError, StorageError
from infra.outputs.images import DatasetReader, ImageFile, encode_images
from infra.outputs.plan import Output, Plan
from infra.outputs.rows import RowReader
from infra.storage.local_store import LocalStore
from infra.storage.store import Store

SIDE = 256
GROUP = 16  # images of a mebibyte
ROWS = (("train", 40), ("test", 20), ("train", 1), ("train", 35))
TRAIN = [*range(40), *range(60, 96)]


@dataclass(frozen=True)
class Watched:
    """A store that notes which bytes were asked for, and can be made to fail."""

    store: Store
    wanted: list[tuple[str, int, int | None]] = field(default_factory=list)
    failure: list[Exception] = field(default_factory=list)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self.wanted.append((name, start, length))
        if self.failure:
            raise self.failure[0]
        return self.store.read(name, start, length)

    def whole(self) -> list[int]:
        """The units that were read whole."""
        return [int(name.rpartition("/")[2][:6]) for name, _, length in self.wanted if length is None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def sealed(store: Store) -> DatasetReader:
    """Image i is filled with i and has label 100 + i."""
    watched = Watched(store)
    output = Output(store=watched, plan=Plan(stage="d", format_version=1, settings={}, inputs={}))
    output.begin({})
    units, first = [], 0
    for number, (split, rows) in enumerate(ROWS):
        # Beside noise a file could be so small that one request fetches all of it.
        images = np.random.default_rng(number).integers(0, 256, (rows, 1, SIDE, SIDE), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(first, first + rows)
        labels = {"label": pa.array(range(100 + first, 100 + first + rows), type=pa.int32())}
        facts = {"first_id": first, "split": split}
        record = output.commit(f"units/{number:06d}", "parquet", encode_images(images, first, labels, {}), facts)
        units.append({"unit": number, "rows": rows, **record.as_json()})
        first += rows
    manifest = output.seal({}, units, {})
    watched.wanted.clear()
    return DatasetReader(store=watched, manifest=manifest)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> DatasetReader:
    return sealed(LocalStore(tmp_path_factory.mktemp("rows")))


@pytest.fixture
def reader(local: DatasetReader) -> DatasetReader:
    """With nothing noted yet."""
    watched(local).wanted.clear()
    return local


def watched(reader: DatasetReader) -> Watched:
    assert isinstance(reader.store, Watched)
    return reader.store


def seen(rows: RowReader, numbers: list[int]) -> list[int]:
    """The images of these numbers, each compared with its label."""
    images, labels = rows(np.array(numbers, dtype=np.int64))
    assert images.shape == (len(numbers), 1, SIDE, SIDE)
    assert (labels - 100).tolist() == images[:, 0, 0, 0].tolist()
    return [int(label) - 100 for label in labels]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    calls=st.lists(st.lists(st.integers(0, len(TRAIN) - 1), min_size=1, max_size=8), max_size=4),
    room=st.sampled_from([1, GROUP, 30, 41, 100]),
)
def test_rows_by_number(reader: DatasetReader, calls: list[list[int]], room: int) -> None:
    rows = RowReader(reader, "train", room)
    for numbers in calls:
        assert seen(rows, numbers) == [TRAIN[number] for number in numbers]
        assert rows.images_held <= max(room, GROUP)


def test_each_file_is_read_once_while_there_is_room(reader: DatasetReader) -> None:
    rows = RowReader(reader, "train", 100)
    for _ in range(3):
        assert seen(rows, list(range(len(TRAIN)))) == TRAIN
    assert watched(reader).whole() == [0, 2, 3]
    assert len(watched(reader).wanted) == 3


def test_after_its_first_use_a_row_costs_its_row_group(reader: DatasetReader) -> None:
    rows = RowReader(reader, "train", GROUP)
    seen(rows, [20])
    for number, images in ((0, 16), (39, 8), (17, 16)):
        watched(reader).wanted.clear()
        seen(rows, [number])
        ((_, _, length),) = watched(reader).wanted
        assert images * SIDE**2 <= (length or 0) < images * SIDE**2 + 1024


def test_by_file_one_request_is_for_all_of_it(reader: DatasetReader) -> None:
    rows = RowReader(reader, "train", 41, by_file=True)
    for _ in range(2):
        assert seen(rows, list(range(40))) == TRAIN[:40]
        assert seen(rows, list(range(41, 76))) == TRAIN[41:]
        assert rows.images_held <= 41
    assert watched(reader).whole() == [0, 3, 0, 3]
    assert len(watched(reader).wanted) == 4


def test_what_is_kept_of_a_file_is_little(reader: DatasetReader) -> None:
    """Ten thousand files take some megabytes: a parsed footer takes kilobytes for each row group."""
    unit = reader.units("train")[0]
    assert len(reader.open_unit(unit).footer()) < 1500
    images = np.zeros((1000, 3, 32, 32), np.uint8)
    columns = {name: pa.array(["x" * 64] * 1000) for name in ("split", "name", "sha256")}
    many = ImageFile(BytesIO(encode_images(images, 0, columns, {})), "x")
    more = ImageFile(BytesIO(encode_images(np.tile(images, (8, 1, 1, 1)), 0, {}, {})), "x")
    assert len(more.footer()) - len(many.footer()) < 50 * (len(more.starts) - len(many.starts))


def test_the_one_unused_for_longest_makes_room(reader: DatasetReader) -> None:
    rows = RowReader(reader, "train", 2 * GROUP)
    seen(rows, [0, 40, 41])  # every file is known
    fetched = []
    for number in (0, 41, 15, 60, 1, 42):
        watched(reader).wanted.clear()
        seen(rows, [number])
        fetched.append(bool(watched(reader).wanted))
    # Two groups of 16 fit. 15 is of the group of 0, so 60 takes the room of 41's group, which 42 then misses.
    assert fetched[2:] == [False, True, False, True]


@pytest.mark.parametrize("numbers", [[76], [-1], [0, 99], []])
def test_numbers_outside(reader: DatasetReader, numbers: list[int]) -> None:
    with pytest.raises(IndexError, match="image numbers"):
        RowReader(reader, "train", 5)(np.array(numbers, dtype=np.int64))


class TestDamage:
    @pytest.fixture
    def own(self, tmp_path: Path) -> tuple[DatasetReader, Path]:
        """A reader, and the file of its last unit."""
        made = sealed(LocalStore(tmp_path))
        return made, tmp_path / made.manifest.folder / made.manifest.units[3]["file"]

    def test_a_changed_file_is_found_on_its_first_use(self, own: tuple[DatasetReader, Path]) -> None:
        reader, path = own
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        rows = RowReader(reader, "train", 5)
        assert seen(rows, [40]) == [60]
        with pytest.raises(IntegrityError, match="differs from its digest"):
            seen(rows, [41])

    def test_a_page_that_changes_later_is_found_by_its_checksum(self, own: tuple[DatasetReader, Path]) -> None:
        reader, path = own
        rows = RowReader(reader, "train", 1)
        assert seen(rows, [41]) == [61]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert seen(rows, [41, 75]) == [61, 95]
        with pytest.raises(IntegrityError, match=r"(?i)crc|checksum"):
            seen(rows, [60])

    def test_the_footer_is_the_one_that_was_verified(self, own: tuple[DatasetReader, Path]) -> None:
        """It has no checksum, and could take away the labels."""
        reader, path = own
        rows = RowReader(reader, "train", 1)
        assert seen(rows, [41, 60]) == [61, 80]
        whole = path.read_bytes()
        path.write_bytes(whole[:-800] + bytes(800))
        assert seen(rows, [41, 60, 75]) == [61, 80, 95]

    @pytest.mark.parametrize("what", ["gone", "cut", "another"])
    def test_a_file_that_changes_later(self, own: tuple[DatasetReader, Path], what: str) -> None:
        reader, path = own
        rows = RowReader(reader, "train", 1)
        assert seen(rows, [41, 60]) == [61, 80]
        whole = path.read_bytes()
        path.unlink()
        if what == "cut":
            path.write_bytes(whole[: len(whole) // 2])
        elif what == "another":
            path.write_bytes(encode_images(np.zeros((35, 1, SIDE, SIDE), np.uint8), 0, {}, {}).ljust(len(whole), b"x"))
        with pytest.raises(IntegrityError, match=r"is missing|is not a Parquet file") as caught:
            seen(rows, [75])
        assert path.name in str(caught.value)

    def test_a_store_that_fails_is_not_taken_for_damage(self, own: tuple[DatasetReader, Path]) -> None:
        reader, _ = own
        rows = RowReader(reader, "train", 1)
        assert seen(rows, [41, 60]) == [61, 80]
        watched(reader).failure.append(StorageError("does not serve", item="s3://b"))
        with pytest.raises(StorageError, match="does not serve"):
            seen(rows, [41])
