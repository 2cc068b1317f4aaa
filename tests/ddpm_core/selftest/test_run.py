"""The whole self-test passes here, names what fails, and goes on after a family that raises."""

import math

import pytest
import torch

from ddpm_core import gaussian
from ddpm_core.selftest import metrics
from ddpm_core.selftest.run import FAMILIES, Check, run_selftest
from tests.ddpm_core.selftest.family import CPU

QUICK = [(name, run) for name, run in FAMILIES if name in ("forward", "decoder", "frechet")]


def test_every_check_passes_here_and_the_numbers_are_those_of_the_families():
    checks = run_selftest(CPU)
    assert [check for check in checks if not check.passed] == []
    assert {check.name for check in checks} == {name for name, _ in FAMILIES}
    assert len({(check.name, check.what) for check in checks}) == len(checks)
    for check in checks:
        assert math.isfinite(check.expected)
        assert check.tolerance >= 0
        # A tolerance as large as the number itself would let 0 pass for it.
        assert not check.expected or check.tolerance < abs(check.expected) / 4


def test_nothing_global_is_changed():
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    run_selftest(CPU, [(name, run) for name, run in FAMILIES if name in ("randomness", "ode", "network", "training")])
    after = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_the_same_numbers_again():
    assert run_selftest(CPU, QUICK) == run_selftest(CPU, QUICK)


def test_a_fault_fails_the_families_that_rest_on_it_and_no_others(monkeypatch):
    monkeypatch.setattr(gaussian, "_HALF_BIN", 1 / 127.5)
    assert {check.name for check in run_selftest(CPU, QUICK) if not check.passed} == {"decoder"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA error: no kernel image\nmore lines"), "RuntimeError: CUDA error: no kernel image"),
        (NotImplementedError("erfc"), "NotImplementedError: erfc"),
        (ValueError("betas"), "ValueError: betas"),
        (RuntimeError(), "RuntimeError: "),
    ],
)
def test_a_family_that_raises_is_one_failure_and_the_others_go_on(monkeypatch, error, said):
    def raising(*_: object) -> None:
        raise error

    monkeypatch.setattr(metrics, "to_uint8", raising)
    checks = run_selftest(CPU, QUICK)
    assert [check for check in checks if check.name == "decoder"] == [
        Check("decoder", f"errors raised ({said})", 1.0, 0.0, 0.0)
    ]
    assert [check for check in checks if not check.passed] == [check for check in checks if check.name == "decoder"]
    assert {check.name for check in checks} == {"forward", "decoder", "frechet"}


def test_an_interrupt_is_no_failure():
    def interrupted(_: torch.device) -> list[Check]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_selftest(CPU, [("x", interrupted)])
