"""The self-test's answer for one family, and ways to break what it tests."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddpm_core.schedule import NoiseSchedule
from ddpm_core.selftest.run import FAMILIES, Family, run_selftest

CPU = torch.device("cpu")


def failures(family: str, *only: Family) -> list[str]:
    """Return the failures of a family's checks, or of some of its functions; each check is named after the family."""
    checks = run_selftest(CPU, [(name, run) for name, run in FAMILIES if name == family and (not only or run in only)])
    assert checks
    assert {check.name for check in checks} == {family}
    return [check.what for check in checks if not check.passed]


def spoil(monkeypatch: pytest.MonkeyPatch, table: str, change: Callable[[Tensor], Tensor]) -> None:
    """Let every schedule that is made from now on hold another `table`."""
    original = NoiseSchedule.__post_init__

    def spoiled(self: NoiseSchedule) -> None:
        original(self)
        object.__setattr__(self, table, change(getattr(self, table)))

    monkeypatch.setattr(NoiseSchedule, "__post_init__", spoiled)
