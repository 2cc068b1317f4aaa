"""What the user chose of the reading reaches every kind of source that decodes images."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from infra.errors import InputError
from infra.sources.files.file_set import FileSet
from infra.sources.kinds.folder import FolderSource
from infra.sources.kinds.parquet import ParquetSource
from infra.sources.kinds.tar import TarSource
from infra.sources.kinds.zip import ZipSource
from infra.sources.reading import MAX_PIXELS, Reading
from infra.sources.source import Entry, Source
from tests.infra.sources.formats.archives import member, zipped

HEIGHT, WIDTH = 6, 5
KINDS: dict[type[Source], Callable[[Path, bytes], object]] = {
    FolderSource: lambda top, image: (top / "a.png").write_bytes(image),
    TarSource: lambda top, image: (top / "a.tar").write_bytes(member(b"a.png", image) + bytes(1024)),
    ZipSource: lambda top, image: (top / "a.zip").write_bytes(zipped(("a.png", image))),
    ParquetSource: lambda top, image: pq.write_table(pa.table({"image": [image]}), top / "a.parquet"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_most_pixels(tmp_path: Path, kind: Callable[[FileSet, Reading], Source]) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(out, "PNG")
    KINDS[kind](tmp_path, out.getvalue())  # type: ignore[index]

    def size(reading: Reading) -> tuple[int, int]:
        source = kind(FileSet((str(tmp_path),)), reading)
        (entry,) = source.find()
        assert isinstance(entry, Entry)
        (content,) = source.read([entry])
        assert isinstance(content, bytes)
        return source.decode(entry, content).size

    assert size(Reading(max_pixels=HEIGHT * WIDTH)) == size(Reading(max_pixels=MAX_PIXELS)) == (WIDTH, HEIGHT)
    with pytest.raises(InputError, match=f"{WIDTH}x{HEIGHT} pixels, over {HEIGHT * WIDTH - 1}"):
        size(Reading(max_pixels=HEIGHT * WIDTH - 1))
