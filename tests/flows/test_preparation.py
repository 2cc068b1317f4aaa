"""The units of the preparation: one part, its rows and what it says about them."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.preparation import Part, PrepareTask
from infra.errors import IntegrityError
from infra.plan import Output, Plan
from infra.sources.digits import DigitsSource
from infra.store import open_store

FIRST_ID = 100


@pytest.fixture
def task(tmp_path: Path) -> PrepareTask:
    store = open_store(str(tmp_path / "root"))
    store.make()
    items = DigitsSource().list().items
    parts = [Part(split="train", first_id=0, items=items[:3]), Part(split="test", first_id=FIRST_ID, items=items[7:12])]
    output = Output(store=store, plan=Plan(stage="prepare", format_version=1, settings={}, inputs={}))
    return PrepareTask(output=output, source=DigitsSource(), parts=parts, image_size=8, channels=1)


def test_a_unit_is_its_part_and_no_other(task: PrepareTask) -> None:
    task.open()(1)
    assert task.output.record("units/000000") is None
    record = task.output.record("units/000001")
    assert record is not None
    table = pq.read_table(io.BytesIO(task.output.read(record)))
    assert table["id"].to_pylist() == list(range(FIRST_ID, FIRST_ID + 5))
    assert table["name"].to_pylist() == [f"digits/{number:04d}" for number in range(7, 12)]
    assert set(table["split"].to_pylist()) == {"test"}
    levels = np.unpackbits(np.frombuffer(bytes.fromhex(record.facts["levels"]), dtype=np.uint8)).nonzero()[0]
    pixels = np.frombuffer(b"".join(table["image"].to_pylist()), dtype=np.uint8)
    assert levels.tolist() == sorted(set(pixels.tolist()))
    assert (record.facts["rows"], record.facts["first_id"], record.facts["split"]) == (5, FIRST_ID, "test")


def test_a_unit_made_twice_is_there_once(task: PrepareTask) -> None:
    run = task.open()
    run(0)
    first = task.output.record("units/000000")
    run(0)
    assert task.output.record("units/000000") == first


def test_an_image_that_is_not_what_was_listed(task: PrepareTask) -> None:
    broken = [replace(item, digest="0" * 64) for item in task.parts[0].items]
    task.parts[0].items[:] = broken
    with pytest.raises(IntegrityError, match="changed since it was listed"):
        task.open()(0)
    assert task.output.record("units/000000") is None
