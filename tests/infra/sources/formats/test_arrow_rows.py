"""The rows of a record batch: read from the buffers of their own column, and from no other."""

from io import BytesIO

import pyarrow as pa

from infra.sources.formats.arrow_messages import ArrowMessages
from infra.sources.formats.arrow_rows import ArrowRows, arrow_schema
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.parquet_columns import image_columns

IMAGES = [bytes([n]) * 50_000 for n in range(20)]


class Counting(BytesIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_labels_cost_no_images_and_an_image_no_other() -> None:
    sink = BytesIO()
    table = pa.table({"image": IMAGES, "label": [n % 3 for n in range(20)]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    opened = Counting(sink.getvalue())
    messages = ArrowMessages(opened, len(sink.getvalue()), "a.arrow")
    schema = arrow_schema(messages, "a.arrow")
    (batch,) = messages.batches()
    rows, columns = ArrowRows(opened, schema, batch, "a.arrow"), image_columns(schema, "a.arrow")
    assert list(rows.labels(columns, LabelValues(), messages.dictionaries)) == [str(n % 3) for n in range(20)]
    assert opened.count < 10_000
    assert list(rows.images(columns, [7, 3])) == [IMAGES[7], IMAGES[3]]
    assert opened.count < 10_000 + 2 * 50_000
