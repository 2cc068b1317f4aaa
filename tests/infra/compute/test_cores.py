"""The cores that a process may use, by affinity and by the quotas of its control groups."""

from pathlib import Path

import pytest

from infra.compute.cores import usable_cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))


def cores(folder: Path, groups: str, **files: str) -> int:
    """The cores by a folder of control groups, of files such as `a/b/cpu.max`."""
    for name, text in files.items():
        file = folder / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "own").write_text(groups)
    return usable_cores(folder / "groups", folder / "own")


def test_without_groups_those_it_is_bound_to_count(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 8
    assert cores(tmp_path, "0::/\n", **{"cpu.max": "max 100000\n"}) == 8


@pytest.mark.parametrize(("quota", "count"), [("200000", 2), ("250000", 2), ("50000", 1), ("1600000", 8)])
def test_a_quota_of_version_2(tmp_path: Path, quota: str, count: int) -> None:
    """A quarter of a core more is no further core, and half of one is one."""
    assert cores(tmp_path, "0::/\n", **{"cpu.max": f"{quota} 100000\n"}) == count


def test_the_least_quota_around_it_counts(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "600000 100000"}
    assert cores(tmp_path, "0::/a/b\n", **files) == 3


def test_a_quota_of_version_1(tmp_path: Path) -> None:
    groups = "12:memory:/a\n4:cpu,cpuacct:/a\n1:name=systemd:/a\n"
    files = {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1"}
    assert cores(tmp_path, groups, **files) == 4


def test_affinity_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert cores(tmp_path, "0::/\n", **{"cpu.max": "400000 100000"}) == 1
