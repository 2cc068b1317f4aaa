"""A guard for tests with hostile archives."""

import builtins
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working folder stays empty, and no file is opened for writing but the archive itself."""
    empty, opened = tmp_path / "empty", io.open
    empty.mkdir()
    monkeypatch.chdir(empty)

    def guarded(file: object, mode: str = "r", *args: object, **kwargs: object) -> object:
        assert mode in ("r", "rb") or Path(str(file)).parent == tmp_path, f"{file} is opened to be written"
        return opened(file, mode, *args, **kwargs)

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", guarded)
    for name in ("symlink", "link", "mkdir", "mkfifo", "mknod", "rename", "chmod", "utime"):
        monkeypatch.setattr(os, name, None)
    yield
    assert list(empty.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"empty", "a.tar", "a.tgz", "a.tar.bz2", "a.zip"}
