"""The root of all outputs."""

from pathlib import Path

import pytest

from flows.root import local_folder, resolve_root


def test_root_is_given_or_from_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_root("") == "ddpm-runs"
    monkeypatch.setenv("DDPM_ROOT", "/elsewhere")
    assert resolve_root("") == "/elsewhere"
    assert resolve_root("here") == "here"


def test_what_no_object_store_can_hold_lies_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert local_folder(str(tmp_path / "root")) == tmp_path / "root"
    folder = local_folder("s3://bucket/prefix")
    assert folder.parent == tmp_path / "state" / "ddpm-flows"
    assert local_folder("s3://bucket/prefix/") == folder, "the same place"
    assert local_folder("s3://bucket/prefix2") != folder
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert local_folder("s3://bucket/prefix") == tmp_path / "home/.local/state/ddpm-flows" / folder.name
