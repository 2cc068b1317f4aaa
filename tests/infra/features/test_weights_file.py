"""A file of weights is known by its digest, which is checked before a byte of it is read as anything else."""

from pathlib import Path

import pytest
from torch import Tensor

from infra.digests import sha256
from infra.errors import ConfigError, InputError, Term
from infra.features import weights_file
from infra.features.weights_file import WeightsFile


def unread(_data: bytes, _item: str) -> dict[str, Tensor]:
    raise AssertionError("it must not be read")


KIND = WeightsFile(published={sha256(b"known"): "known.pth"}, read=unread, remedy="take known.pth")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a file.pth"


def test_a_published_file_needs_no_digest(file: Path) -> None:
    file.write_bytes(b"known")
    assert KIND.bytes_of(str(file), "") == KIND.bytes_of(str(file), sha256(b"known")) == b"known"


def test_another_needs_its_own(file: Path) -> None:
    file.write_bytes(b"other")
    assert KIND.bytes_of(str(file), sha256(b"other")) == b"other"
    with pytest.raises(InputError, match=f"is no published file .sha256 {sha256(b'other')}") as caught:
        KIND.bytes_of(str(file), "")
    assert caught.value.remedy.startswith("take known.pth")
    assert Term.WEIGHTS_DIGEST in caught.value.remedy
    with pytest.raises(InputError, match=f"has the sha256 {sha256(b'other')}") as caught:
        KIND.bytes_of(str(file), sha256(b"known"))
    assert caught.value.remedy == f"{Term.WEIGHTS_DIGEST} says {sha256(b'known')}"


def test_one_that_is_not_there(file: Path, tmp_path: Path) -> None:
    for place, cause in ((file, "is not there"), (tmp_path, "cannot be read")):
        with pytest.raises(InputError, match=cause) as caught:
            KIND.bytes_of(str(place), "")
        assert (caught.value.item, caught.value.remedy) == (str(place), "take known.pth")
    with pytest.raises(ConfigError, match="only local folders and S3"):
        KIND.bytes_of("https://elsewhere/known.pth", "")


def test_one_that_is_too_large(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "_MAX_BYTES", 1 << 20)
    file.write_bytes(b"\0" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="is larger than 1 MiB"):
        KIND.bytes_of(str(file), "")
