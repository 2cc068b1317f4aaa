"""Parquet files of images: Hugging Face's, plain columns of encoded images, and this pipeline's own pixels.

Nothing is trusted: before anything is unpacked, footer and pages are held to the sizes that they claim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from PIL import Image

from infra.errors import InputError
from infra.sources.decode import REPAIR, decode, from_array
from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.parquet_columns import image_columns
from infra.sources.formats.parquet_pages import check_pages
from infra.sources.formats.parquet_rows import open_parquet, row_content, row_labels, row_values
from infra.sources.reading import BY_RULE, Reading
from infra.sources.recognition.marks import is_of_kind
from infra.sources.source import Content, Entry, Found, NoClasses, Other


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files with a column of images, each in its row group and row.

    The column is the one that the user chose, else called as in `IMAGE_KEYS`, else the only one of bytes. Labels are in
    label, labels, fine_label or class. Splits are those of the folders, or of a file's name that has train, test or val
    in it.
    Files that this pipeline wrote name their split and classes themselves.

    Attributes:
        files: The tables.
        reading: The user's choices about reading them.
    """

    files: FileSet
    reading: Reading = BY_RULE

    def find(self) -> Iterator[Found]:
        """Find every image, in the order of the files' names, reading only the labels."""
        for file in self.files.find():
            if is_of_kind("parquet", self.files, file):
                yield from self._find(file)
            else:
                yield Other(file.name)

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        """Read their bytes; a page and a few images at a time are in memory."""
        for (name, group), rows in groupby(entries, key=lambda entry: (entry.file, entry.at[0])):
            same = list(rows)
            yield from self._read(File(name=name, size=same[0].size, stamp=same[0].stamp), group, same)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        """Decode an image, or make one of these pixels."""
        if len(entry.at) == 2:
            name = f"{self.files.path(entry.file)}[{entry.at[0]},{entry.at[1]}]"
            return decode(content, name, self.reading)
        pixels = np.frombuffer(content, dtype=np.uint8).reshape(entry.at[2:])
        return from_array(pixels.transpose(1, 2, 0), entry.name, self.reading.max_value)

    def _find(self, file: File) -> Iterator[Entry | Other | NoClasses]:
        path = self.files.path(file.name)
        values, picked = LabelValues(), self.reading.picked
        with self.files.open(file) as opened, open_parquet(opened, path, picked) as parquet:
            columns = image_columns(parquet.schema_arrow, path, self.reading)
            rows = parquet.metadata.num_rows
            if not 0 <= rows <= file.size:
                raise InputError(f"says it holds {rows} images in {file.size} bytes", item=path, remedy=REPAIR)
            number = 0
            for group in range(parquet.metadata.num_row_groups):
                # One row more than the file claims is enough to refuse it.
                labels = row_labels(parquet, opened, group, columns, path, values, signed=bool(picked))
                for row, label in enumerate(islice(labels, rows - number + 1)):
                    yield Entry(
                        name=f"{file.name}/{number:06d}",
                        file=file.name,
                        size=file.size,
                        stamp=file.stamp,
                        at=(group, row, *columns.shape),
                        split=columns.split,
                        label=label or "",
                        folder=file.name.rpartition("/")[0],
                        split_from="the files themselves",
                        label_from=f"column {columns.label}",
                    )
                    number += 1
            yield from columns.no_classes(values.trouble)
            if number != rows:
                raise InputError(f"says it holds {rows} images and holds {number}", item=path, remedy=REPAIR)
        for column in columns.left_out:
            yield Other(file.name, key=column, count=rows)

    def _read(self, file: File, group: int, entries: list[Entry]) -> Iterator[Content]:
        path = self.files.path(file.name)
        with self.files.open(file) as opened, open_parquet(opened, path) as parquet:
            columns = image_columns(parquet.schema_arrow, path, self.reading)
            declared = check_pages(opened, parquet.metadata.row_group(group), columns.leaf, path)
            values = enumerate(row_values(parquet, group, columns.leaf, declared, path))
            for entry in entries:
                value = next((value for row, value in values if row == entry.at[1]), None)
                name = f"{path}[{group},{entry.at[1]}]"
                yield row_content(value, columns.shape, name)
