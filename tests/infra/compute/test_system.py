"""Facts about this machine, against what the system itself says of them."""

import os
import shutil
from pathlib import Path

import pytest

from infra.compute.system import Space, available_memory, ray_temporary_folder, space


def test_the_room_is_the_one_of_df(tmp_path: Path) -> None:
    room, stat = space(tmp_path), os.statvfs(tmp_path)
    assert room.total == stat.f_frsize * stat.f_blocks
    assert room.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)
    assert Space(total=100, free=25).used == 0.75
    assert Space(total=0, free=0).used == 1.0


def test_memory_that_programs_may_take(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       24571204 kB\nMemFree:          512000 kB\nMemAvailable:   12288000 kB\n")
    assert available_memory(file) == 12288000 * 1024
    assert available_memory(tmp_path / "no-such-file") is None


def test_rays_folder_is_the_one_that_ray_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._common.utils import get_default_system_temp_dir

    for variables in ({}, {"TMPDIR": "/a"}, {"TMPDIR": "/a", "RAY_TMPDIR": "/b"}):
        with monkeypatch.context() as patch:
            for name in ("TMPDIR", "RAY_TMPDIR"):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            assert str(ray_temporary_folder()) == get_default_system_temp_dir()
