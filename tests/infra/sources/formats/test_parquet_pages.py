"""The sizes that the headers of a column's pages add up to, known before a page is unpacked."""

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.sources.formats.parquet_pages import MAX_REPEAT, check_pages


def written(values: list[bytes], **options: object) -> BytesIO:
    buffer = BytesIO()
    pq.write_table(pa.table({"n": list(range(len(values))), "image": values}), buffer, **options)
    return buffer


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"use_dictionary": False, "data_page_size": 4096}])
def test_the_sum_is_what_the_column_unpacks_to(options: dict[str, object]) -> None:
    """The footer says the same, headers counted in: each page's is some tens of bytes."""
    buffer = written([bytes([n]) * 500 for n in range(200)], **options)
    group = pq.ParquetFile(buffer).metadata.row_group(0)
    total, stated = check_pages(buffer, group, "image", "item"), group.column(1).total_uncompressed_size
    assert 200 * 500 <= total < stated < total + 4000


def test_a_page_that_unpacks_to_far_more_is_refused() -> None:
    buffer = written([bytes(1 << 20)] * 100, compression="zstd", use_dictionary=False, data_page_size=200 << 20)
    group = pq.ParquetFile(buffer).metadata.row_group(0)
    assert group.column(1).total_uncompressed_size > MAX_REPEAT * group.column(1).total_compressed_size
    with pytest.raises(InputError, match=r"has a page of .* bytes that unpacks to"):
        check_pages(buffer, group, "image", "item")


def test_a_column_that_is_not_there() -> None:
    buffer = written([b"x"])
    with pytest.raises(InputError, match="has 0 columns other"):
        check_pages(buffer, pq.ParquetFile(buffer).metadata.row_group(0), "other", "item")
