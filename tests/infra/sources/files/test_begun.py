"""A listing that has begun goes on: nothing is listed twice, and workers receive a plain set."""

import pickle
from pathlib import Path

import pytest

from infra.sources.files import file_set
from infra.sources.files.begun import BegunFileSet
from infra.sources.files.file_set import FileSet
from tests.infra.sources.trees import put


@pytest.mark.parametrize("count", [0, 2, 3, 9])
def test_the_next_listing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    put(tmp_path, "a", "b/c", "d")
    listings = []
    plain = file_set.local_files
    monkeypatch.setattr(file_set, "local_files", lambda *args: listings.append(args) or plain(*args))
    files = BegunFileSet((str(tmp_path),))
    whole = list(FileSet(files.sources).find())
    assert files.peek(count) == whole[:count]
    assert list(files.find()) == whole
    assert len(listings) == 2, "that of the plain set, and one of the other"
    assert list(files.find()) == whole, "a second one begins anew"


def test_workers_receive_a_plain_set(tmp_path: Path) -> None:
    put(tmp_path, "a")
    files = BegunFileSet.of(FileSet((str(tmp_path),)))
    files.peek(1)
    assert pickle.loads(pickle.dumps(files)) == FileSet(files.sources)
