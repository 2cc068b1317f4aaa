"""The messages of an Arrow file: each record batch with its rows and buffers, where Arrow's own reader finds them."""

from io import BytesIO

import pyarrow as pa
import pytest

from infra.errors import InputError
from infra.sources.formats.arrow_messages import ArrowMessages

TABLE = pa.table({"n": pa.array(range(10), pa.int32()), "text": [str(n) * n for n in range(10)]})


def written(form: str, codec: str | None = None) -> bytes:
    sink = BytesIO()
    make = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with make(sink, TABLE.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(TABLE, max_chunksize=4)
    return sink.getvalue()


@pytest.mark.parametrize("form", ["stream", "file"])
@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
def test_schema_and_batches(form: str, codec: str | None) -> None:
    data = written(form, codec)
    messages = ArrowMessages(BytesIO(data), len(data), "a.arrow")
    assert pa.ipc.read_schema(pa.py_buffer(messages.schema())) == TABLE.schema
    batches = list(messages.batches())
    assert [(batch.rows, batch.codec, batch.lengths) for batch in batches] == [
        (rows, codec or "", (rows, rows)) for rows in (4, 4, 2)
    ]
    assert [len(batch.buffers) for batch in batches] == [2 + 3] * 3, "a bitmap and numbers; a bitmap, ends and text"
    assert messages.batch(batches[1].place) == batches[1]
    if codec is None:
        numbers = [data[batch.buffers[1].place :][: 4 * batch.rows] for batch in batches]
        assert b"".join(numbers) == TABLE["n"].combine_chunks().buffers()[1].to_pybytes()[:40]


def test_a_stream_without_its_end_mark_is_whole() -> None:
    data = written("stream")[:-8]
    assert sum(batch.rows for batch in ArrowMessages(BytesIO(data), len(data), "a.arrow").batches()) == 10


def test_one_that_ends_inside_a_batch() -> None:
    data = written("stream")[:-40]
    with pytest.raises(InputError, match=r"a\.arrow at byte \d+: (has a message of|is not an Arrow file)"):
        list(ArrowMessages(BytesIO(data), len(data), "a.arrow").batches())


def test_damaged_messages_of_categories_are_named() -> None:
    sink = BytesIO()
    table = pa.table({"label": pa.array(["cat", "dog"]).dictionary_encode()})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    first = len(ArrowMessages(BytesIO(data), len(data), "a.arrow").schema())
    refused = 0
    for place in range(first, len(data)):
        damaged = data[:place] + b"\xff" + data[place + 1 :]
        try:
            list(ArrowMessages(BytesIO(damaged), len(data), "a.arrow").batches())
        except InputError:
            refused += 1
    assert refused > 20


def test_a_place_without_a_batch() -> None:
    data = written("stream")
    with pytest.raises(InputError, match="has no record batch where one was found"):
        ArrowMessages(BytesIO(data), len(data), "a.arrow").batch(0)
