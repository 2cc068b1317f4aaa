"""Random access by number: the rows of the whole, few files in memory, each verified when loaded."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.dataset import DatasetReader, Images, RowReader, encode_images
from infra.errors import IntegrityError
from infra.plan import Output, Plan
from infra.store import LocalStore

ROWS = (("train", 4), ("test", 3), ("train", 1), ("train", 5))
TRAIN = [0, 1, 2, 3, 7, 8, 9, 10, 11, 12]


class CountingReader(DatasetReader):
    """Says which files were loaded."""

    def load_unit(self, unit: dict[str, object]) -> tuple[Images, np.ndarray]:
        LOADED.append(unit["unit"])
        return super().load_unit(unit)


LOADED: list[object] = []


@pytest.fixture
def reader(tmp_path: Path) -> CountingReader:
    """Image i is filled with i and has label 100 + i."""
    LOADED.clear()
    store = LocalStore(tmp_path)
    output = Output(store=store, plan=Plan(stage="d", format_version=1, settings={}, inputs={}))
    output.begin({})
    units, first = [], 0
    for number, (split, rows) in enumerate(ROWS):
        values = np.arange(first, first + rows, dtype=np.uint8)
        images = np.broadcast_to(values[:, None, None, None], (rows, 1, 2, 2)).copy()
        labels = {"label": pa.array(range(100 + first, 100 + first + rows), type=pa.int32())}
        facts = {"first_id": first, "split": split}
        record = output.commit(f"units/{number:06d}", "parquet", encode_images(images, first, labels, {}), facts)
        units.append({"unit": number, "rows": rows, **record.as_json()})
        first += rows
    return CountingReader(store=store, manifest=output.seal({}, units, {}))


@pytest.mark.parametrize("numbers", [[0], [9, 0, 4, 4, 3], list(range(10)), [5, 5]])
@pytest.mark.parametrize("room", [1, 5, 100])
def test_rows_by_number(reader: CountingReader, numbers: list[int], room: int) -> None:
    images, labels = RowReader(reader, "train", room)(np.array(numbers))
    assert images.shape == (len(numbers), 1, 2, 2)
    assert images[:, 0, 1, 0].tolist() == [TRAIN[number] for number in numbers]
    assert labels.tolist() == [100 + TRAIN[number] for number in numbers]


def test_files_stay_while_there_is_room(reader: CountingReader) -> None:
    rows = RowReader(reader, "train", 100)
    for _ in range(3):
        rows(np.arange(10))
    assert LOADED == [0, 2, 3]


def test_the_one_unused_for_longest_makes_room(reader: CountingReader) -> None:
    rows = RowReader(reader, "train", 6)
    for number in (0, 4, 1, 9, 4, 5, 0):
        rows(np.array([number]))
    # 5 images beside 4 + 1 are too many: both older files go; later the 4 do not fit beside 1 + 5.
    assert LOADED == [0, 2, 3, 2, 0]


@pytest.mark.parametrize("numbers", [[10], [-1], [0, 99], []])
def test_numbers_outside(reader: CountingReader, numbers: list[int]) -> None:
    with pytest.raises(IndexError, match="image numbers"):
        RowReader(reader, "train", 5)(np.array(numbers, dtype=np.int64))


def test_a_changed_file_is_found_when_it_is_needed(reader: CountingReader) -> None:
    store = reader.store
    assert isinstance(store, LocalStore)
    path = store.root / reader.manifest.folder / reader.manifest.units[3]["file"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    rows = RowReader(reader, "train", 5)
    assert rows(np.array([4]))[1].tolist() == [107]
    with pytest.raises(IntegrityError, match="differs from its digest"):
        rows(np.array([5]))
