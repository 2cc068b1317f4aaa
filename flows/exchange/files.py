"""Local files, read with errors that name them, and written whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from flows.exchange.foreign_settings import Settings
from infra.errors import ConfigError, InputError, ResourceError, StorageError
from infra.storage.aside import NO_SPACE, replaced


def local_path(path: str) -> Path:
    """Return an absolute local path.

    Raises:
        ConfigError: If it is a URI.
    """
    if "://" in path:
        raise ConfigError("only local files are supported", item=path, remedy="copy it to or from there")
    return Path(path).absolute()


def read_bytes(file: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", item=str(file)) from error


def read_settings(file: Path) -> Settings:
    """Return the object in a JSON file.

    Raises:
        InputError: If it cannot be read or holds anything else.
    """
    try:
        settings = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})", item=str(file)) from error
    if not isinstance(settings, dict):
        raise InputError("holds no settings", item=str(file))
    return settings


def settings_json(settings: Settings) -> bytes:
    """Return settings as the bytes of a JSON file, sorted by name."""
    return f"{json.dumps(settings, indent=2, sort_keys=True)}\n".encode()


def check_free(target: Path) -> None:
    """Refuse a path at which something is already.

    Raises:
        ConfigError: If a file, a folder or a link is there.
    """
    if os.path.lexists(target):
        raise ConfigError("is there already", item=str(target), remedy="choose another name, or remove it")


@contextlib.contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Provide a place to write a file or a folder: it becomes `target` if the block succeeds, else it is removed."""
    with translated(target), replaced(target) as place:
        yield place
        check_free(target)


@contextlib.contextmanager
def translated(target: Path) -> Iterator[None]:
    """Turn the system's errors while something is written into ours."""
    try:
        yield
    except OSError as error:
        kind = ResourceError if error.errno in NO_SPACE else StorageError
        raise kind(f"cannot be written ({error.strerror})", item=str(target), remedy="choose another place") from error
