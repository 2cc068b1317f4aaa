"""Files are written whole or not at all, and nothing is overwritten."""

import errno
from pathlib import Path

import pytest

from ddpm_core.choices import Variance
from flows.exchange import files
from flows.exchange.folder import export_snapshot, import_folder
from infra.errors import ConfigError, ResourceError, StorageError


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("folder", "empty", "dangling", "folder.safetensors"):
        with pytest.raises(ConfigError, match=f"{name}: is there already - choose another name, or remove it"):
            export_snapshot(f"{folder}.safetensors", str(tmp_path / name), Variance.FIXED_SMALL)  # not what is there
        with pytest.raises(ConfigError, match=f"{name}: is there already"):
            import_folder(str(folder), str(tmp_path / name))
    with pytest.raises(StorageError, match="cannot be written"):
        import_folder(str(folder), str(tmp_path / "folder.safetensors" / "below"))


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "full"), ResourceError)],
    ids=["interrupted", "full"],
)
def test_interrupted_work_leaves_nothing(
    failure: BaseException, kind: type[BaseException], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(failure))
    with pytest.raises(kind):
        export_snapshot(f"{folder}.safetensors", str(tmp_path / "new"))
    with pytest.raises(kind):
        import_folder(str(folder), str(tmp_path / "new"))
    assert sorted(tmp_path.iterdir()) == before
