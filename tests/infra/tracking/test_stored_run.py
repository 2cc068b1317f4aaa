"""A run on a server is whole if it ended well, is there, and has the digest."""

import pytest

from infra.tracking.stored_run import StoredRun


@pytest.mark.parametrize(
    ("tags", "is_finished", "is_deleted", "is_whole"),
    [
        ({"digest": "a"}, True, False, True),
        ({"digest": "b"}, True, False, False),
        ({}, True, False, False),
        ({"digest": "a"}, False, False, False),
        ({"digest": "a"}, True, True, False),
    ],
)
def test_whole(tags: dict[str, str], is_finished: bool, is_deleted: bool, is_whole: bool) -> None:
    assert StoredRun(tags, is_finished, is_deleted).is_whole("digest", "a") is is_whole
