"""Empty roots, on a disk and on an S3 server that starts in a second."""

import uuid
from pathlib import Path

import pytest

from infra.storage.local_store import LocalStore
from infra.storage.open import open_store
from infra.storage.s3_client import Limits
from infra.storage.s3_store import S3Store
from tests.servers import BUCKET, Server

QUICK = Limits(total_s=1, connect_s=1, read_s=5, first_wait_s=0.01, longest_wait_s=0.1)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty root on a disk."""
    opened = open_store(str(tmp_path / "root"))
    opened.make()
    assert isinstance(opened, LocalStore)
    return opened


@pytest.fixture
def moto_store(moto: Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty root on S3."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    return S3Store(BUCKET, f"inventory/{uuid.uuid4().hex}", QUICK)
