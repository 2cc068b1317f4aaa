"""The columns that a Parquet file's schema and metadata name; broken ones are in kinds/test_parquet_attacks.py."""

import json
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.sources.formats.parquet_columns import Columns, image_columns

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def columns(table: pa.Table, **metadata: object) -> Columns:
    buffer = BytesIO()
    texts = {name.replace("_", "."): json.dumps(value) for name, value in metadata.items()}
    pq.write_table(table.replace_schema_metadata(texts), buffer)
    return image_columns(pq.ParquetFile(buffer).schema_arrow, "a.parquet")


def test_a_struct_of_bytes_with_named_classes() -> None:
    table = pa.table({"img": pa.array([{"bytes": b"x", "path": "a"}], STRUCT), "fine_label": [1]})
    found = columns(table, huggingface={"info": {"features": {"fine_label": {"names": ["cat", "dog"]}}}})
    assert found == Columns(leaf="img.bytes", shape=(), label="fine_label", class_names=("cat", "dog"), split="")


def test_the_only_column_of_bytes_without_labels() -> None:
    found = columns(pa.table({"anything": [b"x"], "n": [0.5]}))
    assert found == Columns(leaf="anything", shape=(), label="", class_names=(), split="")


@pytest.mark.parametrize(("split", "known"), [("train", "train"), ("test", "test"), ("val", ""), (None, "")])
def test_our_own_pixels(split: str | None, known: str) -> None:
    own = {"dtype": "uint8", "layout": "CHW", "shape": [3, 8, 9], "class_names": ["a"], "split": split}
    found = columns(pa.table({"image": [b"x"], "label": [0]}), ddpm_image=own)
    assert found == Columns(leaf="image", shape=(3, 8, 9), label="label", class_names=("a",), split=known)


def test_several_columns_of_bytes_are_refused() -> None:
    with pytest.raises(InputError, match=r"a\.parquet: holds several images in a sample: a, b"):
        columns(pa.table({"a": [b"x"], "b": [b"y"]}))
