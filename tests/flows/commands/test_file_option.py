"""A file that an option names is refused before the work, or written whole."""

from pathlib import Path

import pytest

from flows.commands.file_option import check_folder, write_file
from infra.errors import ConfigError, StorageError


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    check_folder(tmp_path / "a.png", "--picture")
    for place, remedy in ((tmp_path, "name a file"), (tmp_path / "no" / "a.png", "make the folder")):
        with pytest.raises(ConfigError) as caught:
            check_folder(place, "--picture")
        assert (caught.value.item, caught.value.remedy) == ("--picture", remedy)


def test_a_file_is_written_whole_or_the_reason_is_said(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"1")
    write_file(tmp_path / "a", b"23")
    assert (tmp_path / "a").read_bytes() == b"23"
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(StorageError, match="folder: cannot be written"):
        write_file(tmp_path / "folder", b"")
