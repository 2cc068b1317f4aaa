"""Objects of S3: listed in pages, read in stretches, and told when they changed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import IntegrityError
from infra.storage import s3
from infra.storage.s3_store import S3Store
from tests.servers import BUCKET


def test_objects_are_listed_with_size_and_etag_over_many_pages(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PAGE", 10)
    names = [f"many/{number:04d}" for number in range(95)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda name: s3_store.put_if_absent(name, name.encode()), names))
    found = list(s3.list_objects(BUCKET, f"{s3_store.prefix}/many/"))
    assert [each.key.removeprefix(f"{s3_store.prefix}/") for each in found] == names
    assert {each.size for each in found} == {9}
    assert len({each.etag for each in found}) == len(names)
    assert s3_store.list("many") == names


def test_the_same_start_is_not_the_same_folder_and_markers_are_no_objects(s3_store: S3Store) -> None:
    for name in ("a/x", "ab/x", "a-b"):
        s3_store.put_if_absent(name, b"")
    s3.put_if_absent(BUCKET, f"{s3_store.prefix}/a/folder/", b"")
    assert s3_store.list("a") == ["a/x"]
    assert sorted(each.key for each in s3.list_objects(BUCKET, f"{s3_store.prefix}/a")) == [
        f"{s3_store.prefix}/{name}" for name in ("a-b", "a/x", "ab/x")
    ]


def test_head_says_what_a_listing_says(s3_store: S3Store) -> None:
    s3_store.put_if_absent("a", b"four")
    key = f"{s3_store.prefix}/a"
    assert [s3.head(BUCKET, key)] == list(s3.list_objects(BUCKET, key))
    assert s3.head(BUCKET, f"{s3_store.prefix}/b") is None


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 9, b"89"),
        (10, 1, b""),
        (99, None, b""),
        (2, 0, b""),
    ],
)
def test_stretches(s3_store: S3Store, start: int, length: int | None, expected: bytes) -> None:
    s3_store.put_if_absent("a", b"0123456789")
    assert s3.get(BUCKET, f"{s3_store.prefix}/a", start=start, length=length) == expected


def test_an_object_that_changed_since_it_was_listed_is_told(s3_store: S3Store) -> None:
    key = f"{s3_store.prefix}/a"
    s3_store.put_if_absent("a", b"first")
    listed = next(s3.list_objects(BUCKET, key))
    assert s3.get(BUCKET, key, etag=listed.etag) == b"first"
    s3_store.delete("a")
    with pytest.raises(FileNotFoundError):
        s3.get(BUCKET, key, etag=listed.etag)
    s3_store.put_if_absent("a", b"later")
    for start in (0, 2):
        with pytest.raises(IntegrityError, match="changed since it was listed") as caught:
            s3.get(BUCKET, key, etag=listed.etag, start=start)
        assert caught.value.item == f"s3://{BUCKET}/{key}"
