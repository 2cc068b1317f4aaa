"""Where a root may be: local folders, by any of their names."""

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.store import open_store


@pytest.mark.parametrize("uri", ["s3://bucket/x", "file:///tmp/x", "http://h/x", "", "a\x00b", "~no-such-user/x"])
def test_what_is_no_local_folder_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(uri)
    assert caught.value.exit_code == 2


def test_the_uri_opens_the_same_store_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs")
    store.make()
    store.put_if_absent("a", b"x")
    monkeypatch.chdir("/")
    assert Path(store.uri).is_absolute()
    assert open_store(store.uri).read("a") == b"x"


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/runs").uri == str(tmp_path / "runs")
