"""A guard against downloads, and an exported folder."""

import socket
from pathlib import Path

import pytest

from tests.flows.exchange.diffusers_folders import exported


@pytest.fixture(autouse=True)
def _no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection is made")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return exported(tmp_path / "folder")
