"""A file that an option names and a command writes at its end."""

from pathlib import Path

from infra.errors import ConfigError, StorageError


def check_folder(file: Path, item: str) -> None:
    """Refuse a file that could not be written after the work, which may take hours.

    Args:
        file: The file.
        item: The option, for the error.

    Raises:
        ConfigError: If it is a folder, or lies in none.
    """
    if file.is_dir():
        raise ConfigError("cannot be written (it is a folder)", item=item, remedy="name a file")
    if not file.parent.is_dir():
        raise ConfigError(f"cannot be written (there is no folder {file.parent})", item=item, remedy="make the folder")


def write_file(file: Path, data: bytes) -> None:
    """Write a file at once and whole.

    Raises:
        StorageError: If it cannot be written.
    """
    from infra.storage.aside import replaced

    try:
        with replaced(file) as place:
            place.write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot be written ({error.strerror})", item=str(file)) from error
