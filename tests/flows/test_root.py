"""Where outputs go."""

import pytest

from flows.root import resolve_root


def test_root_is_given_or_from_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_root("") == "ddpm-runs"
    monkeypatch.setenv("DDPM_ROOT", "/elsewhere")
    assert resolve_root("") == "/elsewhere"
    assert resolve_root("here") == "here"
