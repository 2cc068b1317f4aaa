"""The rows of a Parquet file: labels as text, and images row by row; bombs are in kinds/test_parquet_attacks.py."""

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.sources.formats.label_values import LabelValues
from infra.sources.formats.parquet_columns import image_columns
from infra.sources.formats.parquet_rows import open_parquet, row_content, row_labels, row_values

IMAGES = [b"first", b"second", b"third"]


def written(**columns: object) -> BytesIO:
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer


def test_labels_are_text_and_a_negative_one_is_none() -> None:
    opened = written(image=IMAGES, label=[2, -1, 0])
    with open_parquet(opened, "a.parquet") as parquet:
        assert list(
            row_labels(parquet, opened, 0, image_columns(parquet.schema_arrow, "a.parquet"), "a.parquet", LabelValues())
        ) == ["2", "", "0"]


def test_without_a_column_every_row_has_no_label() -> None:
    opened = written(image=IMAGES)
    with open_parquet(opened, "a.parquet") as parquet:
        assert (
            list(
                row_labels(
                    parquet, opened, 0, image_columns(parquet.schema_arrow, "a.parquet"), "a.parquet", LabelValues()
                )
            )
            == [None] * 3
        )


def test_images_in_the_order_of_their_rows() -> None:
    with open_parquet(written(image=IMAGES), "a.parquet") as parquet:
        values = list(row_values(parquet, 0, "image", 100, "a.parquet"))
    assert [row_content(value, (), "a") for value in values] == IMAGES


def test_pixels_of_another_size_than_the_shape_are_refused_one_by_one() -> None:
    assert row_content(pa.scalar(b"12345678"), (2, 2, 2), "a") == b"12345678"
    error = row_content(pa.scalar(b"1234567"), (2, 2, 2), "a")
    assert isinstance(error, InputError)
    assert "has 7 bytes, not those of (2, 2, 2)" in str(error)


def test_a_row_that_does_not_exist_ends_the_reading() -> None:
    with pytest.raises(InputError, match="a: is not there"):
        row_content(None, (), "a")


def test_an_error_of_arrow_names_the_file() -> None:
    with (
        pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet"),
        open_parquet(BytesIO(b"x"), "a.parquet"),
    ):
        pass
