"""Arrow files of images: what Hugging Face's save_to_disk writes, and others in Arrow's stream or file format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import REPAIR, decode, from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.arrow_messages import ArrowMessages
from infra.sources.formats.arrow_rows import ArrowRows, arrow_schema
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.parquet_columns import image_columns
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Found, Other

# A file of row numbers, which the library `datasets` leaves beside shuffled data.
_INDICES = ["indices"]


@dataclass(frozen=True)
class ArrowSource:
    """Every .arrow and .feather file with a column of images; the columns are those of `ParquetSource`.

    Splits are those of the folders (train and test of a saved DatasetDict), or of a file's name that has train, test
    or val in it.

    Attributes:
        files: The files.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image, in the order of the files' names, reading only headers and labels."""
        for file in self.files.find():
            if is_of_kind("arrow", self.files, file):
                yield from self._find(file)
            else:
                yield Other(file.name)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their bytes; one image at a time is in memory, or one batch if it is compressed."""
        for (name, place), rows in groupby(entries, key=lambda entry: (entry.file, entry.at[0])):
            same = list(rows)
            file = File(name=name, size=same[0].size, stamp=same[0].stamp)
            path = self.files.path(name)
            with self.files.open(file) as opened:
                messages = ArrowMessages(opened, file.size, path)
                schema = arrow_schema(messages, path)
                batch = ArrowRows(opened, schema, messages.batch(place), path)
                yield from batch.images(image_columns(schema, path, self.reading), [entry.at[1] for entry in same])
            self.files.open(file).close()  # fails if the file changed meanwhile

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode an image, or make one of these pixels."""
        if len(entry.at) == 2:
            name = f"{self.files.path(entry.file)}[{entry.at[0]},{entry.at[1]}]"
            return decode(content, name, self.reading)
        try:
            pixels = np.frombuffer(content, dtype=np.uint8).reshape(entry.at[2:])
        except ValueError as error:
            cause = f"has {len(content)} bytes, not those of {entry.at[2:]}"
            raise InputError(cause, item=entry.name, remedy=REPAIR) from error
        return from_array(pixels.transpose(1, 2, 0), entry.name, self.reading.max_value)

    def _find(self, file: File) -> Iterator[Found]:
        path = self.files.path(file.name)
        values, signed = LabelValues(), bool(self.reading.picked)
        with self.files.open(file) as opened:
            messages = ArrowMessages(opened, file.size, path)
            schema = arrow_schema(messages, path)
            if schema.names == _INDICES:
                yield Other(file.name)
                return
            columns, number = image_columns(schema, path, self.reading), 0
            for batch in messages.batches():
                rows = ArrowRows(opened, schema, batch, path)
                for row, label in enumerate(rows.labels(columns, values, messages.dictionaries, signed=signed)):
                    yield Entry(
                        name=f"{file.name}/{number:06d}",
                        file=file.name,
                        size=file.size,
                        stamp=file.stamp,
                        at=(batch.place, row, *columns.shape),
                        split=columns.split,
                        label=label,
                        folder=file.name.rpartition("/")[0],
                        split_from="the files themselves",
                        label_from=f"column {columns.label}",
                    )
                    number += 1
            yield from columns.no_classes(values.trouble)
