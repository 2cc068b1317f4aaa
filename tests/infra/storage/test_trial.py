"""A trial of a store finds what would fail a run, and leaves the store as it was."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.errors import ConfigError, IntegrityError, ResourceError, StorageError
from infra.storage import s3
from infra.storage.trial import Trial, nearest_folder, trial
from tests.servers import BUCKET, Server


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with trial(str(tmp_path)) as tried:
        tried.exercise()
        assert tried.store.put_if_absent(f"{tried.folder}/driver", b"left for the end")
    assert tree(tmp_path) == ["mine.txt"]


def test_a_root_that_does_not_exist_is_made_for_the_trial_alone(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet"
    assert nearest_folder(str(root)) == tmp_path
    with trial(str(root)) as tried:
        tried.exercise()
        assert root.is_dir()
    assert tree(tmp_path) == []


def test_what_another_process_wrote_meanwhile_stays(tmp_path: Path) -> None:
    with trial(str(tmp_path / "root")):
        (tmp_path / "root" / "theirs").write_text("kept")
    assert tree(tmp_path) == ["root", "root/theirs"]


def test_a_bucket_is_left_as_it_was(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    with trial(f"s3://{BUCKET}/trial") as tried:
        tried.exercise()
        tried.store.put_if_absent(f"{tried.folder}/driver", b"left for the end")
    assert list(s3.list_objects(BUCKET, "trial")) == []
    theirs = s3.store_time(BUCKET)
    assert theirs is not None
    assert abs((theirs - datetime.now(UTC)).total_seconds()) < 5


def test_a_bucket_that_is_missing(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="there is no such bucket"), trial("s3://no-such-bucket/here") as tried:
        tried.exercise()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    with (small_disk / "everything").open("wb") as file, contextlib.suppress(OSError):
        while True:  # bounded by the disk
            os.write(file.fileno(), bytes(4096))
    with pytest.raises(ResourceError, match="no space left"), trial(str(small_disk)) as tried:
        tried.exercise()
    assert tree(small_disk) == ["everything"]


@dataclass
class Faulty:
    """A store in memory with one fault."""

    fault: str
    uri: str = "faulty"
    objects: dict[str, bytes] = field(default_factory=dict)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        taken = name in self.objects and self.fault != "overwrites"
        if not taken:
            self.objects[name] = data
        return not taken

    def replace(self, name: str, data: bytes) -> None:
        self.objects[name] = data

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if self.fault == "forgets":
            raise FileNotFoundError(name)
        data = self.objects[name] if self.fault != "changes" else self.objects[name].upper() + b"!"
        return data[start:][:length]

    def list(self, prefix: str) -> list[str]:
        return [name for name in self.objects if name.startswith(prefix) and self.fault != "hides"]

    def delete(self, name: str) -> None:
        if self.fault != "keeps":
            del self.objects[name]

    def exists(self, name: str) -> bool:
        return name in self.objects


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("overwrites", ConfigError, "lets a second writer overwrite the first"),
        ("forgets", StorageError, "is missing right after"),
        ("changes", IntegrityError, "other bytes come back"),
        ("hides", StorageError, "a listing lacks"),
        ("keeps", StorageError, "still there after it was removed"),
    ],
)
def test_a_store_with_a_fault(fault: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Trial(store=Faulty(fault), folder="there").exercise()
    Trial(store=Faulty(""), folder="there").exercise()
