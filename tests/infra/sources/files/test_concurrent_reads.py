"""Files from elsewhere are read several at a time, within a bound of bytes."""

import pytest

from infra.sources.files.file import File
from infra.sources.files.file_set import FileSet


def test_large_files_from_elsewhere_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones by 64; of large ones no more than the bytes allow, and one."""
    begun: list[str] = []

    def read(path: str, file: File, _start: int, _length: int | None) -> bytes:
        begun.append(path)
        return bytes(file.size)

    monkeypatch.setattr("infra.sources.files.file_set._read_remote", read)
    monkeypatch.setattr("infra.sources.files.file_set._WINDOW_BYTES", 1000)
    files = FileSet(("s3://b/x/",))
    for size, at_once in ((1, 64), (300, 4), (5000, 1)):
        begun.clear()
        contents = files.read_all(File(name=f"{number:03d}", size=size, stamp="") for number in range(100))
        assert len(next(contents)) == size
        contents.close()  # waits for what was begun
        assert len(begun) <= at_once
    assert len(list(files.read_all(File(name=f"{number}", size=300, stamp="") for number in range(10)))) == 10
