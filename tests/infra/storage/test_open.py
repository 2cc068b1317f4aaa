"""The store that an address names."""

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.storage.local_store import LocalStore
from infra.storage.open import open_store


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert isinstance(store, LocalStore)
    assert store.uri == str(tmp_path)


def test_what_is_neither_path_nor_s3_is_refused() -> None:
    with pytest.raises(ConfigError):
        open_store("ftp://host/folder")
