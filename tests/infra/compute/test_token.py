"""The token of a Ray of our own is a secret of this user, and is kept."""

import stat
from pathlib import Path

import pytest

from infra.compute.token import local_token, token_environment


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_made_once_for_this_user_alone() -> None:
    token = local_token()
    text = token.read_text()
    assert len(text) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert local_token().read_text() == text


def test_a_way_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert token_environment() == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(local_token())}
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert token_environment() == {}
