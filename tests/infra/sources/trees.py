"""Trees of small files, and what is found of them."""

import os
from collections.abc import Mapping
from pathlib import Path

from infra.sources.files.file_set import FileSet


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(f"content of {name}"))


def laid(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files with these contents, by their names below a folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def names(*sources: object) -> list[str]:
    return [file.name for file in FileSet(tuple(map(str, sources))).find()]
