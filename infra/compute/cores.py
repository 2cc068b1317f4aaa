"""The cores that this process may use: those it is bound to, within the quota of its control groups."""

import os
from pathlib import Path

_FILES = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores(files: Path = _FILES, own_groups: Path = _OWN_GROUPS) -> int:
    """Return the number of whole cores that this process may keep busy, at least 1.

    A container with a quota of two cores sees all cores of its machine, and is held up if it works on more than two.

    Args:
        files: The folder of the control groups, versions 1 and 2.
        own_groups: The file that names this process's groups.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(int(min([float(bound), *_quotas(files, own_groups)])), 1)


def _quotas(files: Path, own_groups: Path) -> list[float]:
    """Return the quota of each group around this process, in cores."""
    found = []
    for line in _read(own_groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = files / "cpu" if controllers else files
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group == top.parent:
                break
            found.append(_quota_2(group) if not controllers else _quota_1(group))
    return [quota for quota in found if quota is not None]


def _quota_2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    return float(quota) / float(period) if quota not in ("", "max") else None


def _quota_1(group: Path) -> float | None:
    quota, period = (_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return float(quota) / float(period) if quota not in ("", "-1") and period else None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # another system, or a group that this process may not see
        return ""
