"""Files that label images by name: their rows, and broken ones."""

import json

import pytest

from infra.errors import InputError, Term
from infra.sources.formats.metadata import may_be_metadata, metadata_rows, shows_no_labels, too_large
from infra.sources.source import Metadata


def rows(name: str, text: str, picked: str = "") -> list[tuple[str, object]] | None:
    found = metadata_rows(Metadata(name, text.encode()), picked)
    return None if found is None else list(found)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("dataset.json", True),
        ("a/b/Metadata.CSV", True),
        ("a.zip!dataset.json", True),
        ("a.zip!x/metadata.jsonl", True),
        ("labels.tsv", True),
        ("dataset_infos.json", False),
        ("my-metadata.csv", False),
        ("metadata.csv/a.png", False),
        ("7.json", False),
    ],
)
def test_names(name: str, is_one: bool) -> None:
    assert may_be_metadata(name) is is_one


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("dataset.json", '{"labels": [["00/a.png", 1], ["b.png", null]]}', [("00/a.png", 1), ("b.png", None)]),
        ("dataset.json", '{"labels": {"a.png": 2}}', [("a.png", 2)]),
        ("dataset.json", '{"labels": null}', None),
        ("dataset.json", '{"labels": []}', None),
        ("dataset.json", '{"version": 3}', None),
        ("dataset.json", "[1, 2]", None),
        ("metadata.jsonl", '{"id": "a", "label": 1}\n\n{"id": "b"}\n', [("a", 1), ("b", None)]),
        ("metadata.jsonl", '{"file_name": "a.png", "labels": [1, 2]}', [("a.png", [1, 2])]),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a cat"}', None),
        ("metadata.jsonl", "", None),
        ("metadata.csv", "\ufefffile_name,text,category\r\na.png,\"x, y\",cat\r\n", [("a.png", "cat")]),
        ("metadata.csv", "File_Name;Class\na.png;3\n", [("a.png", "3")]),
        ("metadata.csv", "file_name,label\na.png,3.0\nb.png,\n", [("a.png", 3), ("b.png", None)]),
        ("metadata.csv", 'file_name,label\na.png,"[1, 3]"\n', [("a.png", [1, 3])]),
        ("labels.csv", "id,class\n000bec18,husky\n", [("000bec18", "husky")]),
        ("labels.tsv", "image\tlabel\na.png\tcat\n", [("a.png", "cat")]),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_rows(name: str, text: str, expected: list[tuple[str, object]] | None) -> None:
    assert rows(name, text) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label,Smiling\na.png,cat,1\n"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": "cat", "Smiling": "1"}'),
        ("dataset.json", json.dumps({"labels": None, "Smiling": [["a.png", "1"]]})),
    ],
)
def test_the_column_that_was_picked(name: str, text: str) -> None:
    assert rows(name, text, "Smiling") == [("a.png", "1")]
    with pytest.raises(InputError, match=r"has no labels called smiling: it has .*Smiling") as caught:
        rows(name, text, "smiling")
    assert f"{Term.LABELS}=column:NAME" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataset.json", '{"labels": [["a.png", 1]'),
        ("dataset.json", '{"labels": [["a.png", 1, 2]]}'),
        ("dataset.json", '{"labels": 7}'),
        ("dataset.json", "[" * 100_000),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1}\n{"file_name"'),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1}\n[1]'),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1}\n{"label": 1}'),
        ("metadata.csv", "file_name,label\n,1\n"),
        ("metadata.csv", f'file_name,label\na.png,"{"x" * 200_000}"\n'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_file_is_named_with_the_way_on(name: str, text: str) -> None:
    with pytest.raises(InputError) as caught:
        rows(f"x/{name}", text)
    assert caught.value.item == f"x/{name}"
    assert f"{Term.LABELS}=none" in caught.value.remedy


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        metadata_rows(Metadata("metadata.csv", b"\xff\xfe\0"), "")


def test_a_file_that_was_not_read_says_why() -> None:
    with pytest.raises(InputError, match="larger than 64 MiB"):
        metadata_rows(Metadata("metadata.csv", too_large("a")), "")


@pytest.mark.parametrize(
    ("name", "start", "shows"),
    [
        ("metadata.csv", b"file_name,text\n", True),
        ("metadata.csv", b"file_name,caf\xe9\r\n", True),
        ("metadata.csv", b'"file_name";"Label"\n', False),
        ("labels.tsv", b"id\tclass\n", False),
        ("metadata.csv", b"\xff\xfef\0i\0", False),
        ("metadata.csv", b"", False),
        ("metadata.jsonl", b'{"file_name": "a", "text": "label"}\n{"label": 1', True),
        ("metadata.jsonl", b'{"file_name": "a", "Label" : 1}', False),
        ("metadata.jsonl", b"[1]", False),
        ("dataset.json", b'{"name": "x"', True),
        ("dataset.json", b'{\n"labels": [', False),
        ("splits.csv", b"a,b\n", False),
    ],
)
def test_a_beginning_without_labels(name: str, start: bytes, shows: bool) -> None:
    assert shows_no_labels(Metadata(name, start)) is shows
    assert shows_no_labels(Metadata(name, too_large(name), start)) is shows
