"""A disk that fails while the user's files are read."""

import errno
import io
from pathlib import Path

import pytest

from infra.errors import StorageError
from infra.sources.files.file_set import FileSet


@pytest.mark.parametrize("call", ["open", "read"])
def test_a_disk_that_fails_is_no_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    files = FileSet((str(tmp_path),))
    (file,) = files.find()

    class Failing(io.FileIO):
        def __init__(self, path: str) -> None:
            if call == "open":
                raise OSError(errno.EIO, "Input/output error")
            super().__init__(path)

        def read(self, *_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(io, "FileIO", Failing)
    with pytest.raises(StorageError, match=r"a\.png: cannot be read \(Input/output error\) - run again"):
        list(files.read_all([file]))
