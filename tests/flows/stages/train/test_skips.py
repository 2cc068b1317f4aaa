"""Ten skipped steps in a row end a run: at once on a CPU, and on a GPU without a wait in each step."""

import pytest
import torch

from ddpm_core.train_step import StepResult
from flows.stages.train.skips import SKIPS_IN_A_ROW, Skips

SKIPPED, APPLIED = False, True


def result(applied: bool, device: str = "cpu") -> StepResult:
    zero = torch.zeros((), device=device)
    applied_there = torch.full((), applied, device=device)
    return StepResult(losses=zero[None], loss_sum=zero, grad_norm=zero, applied=applied_there)


def looks(skips: Skips, steps: list[bool], scale: float | None = None) -> list[bool]:
    found = []
    for applied in steps:
        skips.add(result(applied), None if scale is None else torch.tensor(scale))
        found.append(skips.are_too_many(is_last=False))
    return found


def test_on_a_cpu_the_tenth_is_seen_at_once() -> None:
    steps = [*[SKIPPED] * 9, APPLIED, *[SKIPPED] * 10]
    assert looks(Skips(), steps) == [*[False] * 19, True]
    assert SKIPS_IN_A_ROW == 10


def test_a_row_goes_on_after_a_resume() -> None:
    assert looks(Skips(in_a_row=6), [SKIPPED] * 4) == [False, False, False, True]
    assert looks(Skips(in_a_row=6), [APPLIED, *[SKIPPED] * 9]) == [False] * 10


class OnGpu(Skips):
    """The rules of a GPU, on this machine."""

    def __init__(self) -> None:
        super().__init__()
        self._is_on_host = False


def test_on_a_gpu_a_row_that_ended_is_seen_at_the_hundredth_step() -> None:
    found = looks(OnGpu(), [*[SKIPPED] * 10, *[APPLIED] * 90])
    assert found == [*[False] * 99, True]
    assert looks(OnGpu(), [*[SKIPPED] * 9, *[APPLIED] * 91]) == [False] * 100


def test_on_a_gpu_the_last_step_is_a_look() -> None:
    skips = OnGpu()
    looks(skips, [SKIPPED] * 9)
    skips.add(result(SKIPPED))
    assert skips.are_too_many(is_last=True)


def test_between_looks_nothing_is_read() -> None:
    """A tensor on meta has no value to read."""
    skips = Skips(torch.device("meta"))
    for _ in range(99):
        skips.add(result(SKIPPED, "meta"), torch.ones((), device="meta"))
        assert not skips.are_too_many(is_last=False)
    skips.add(result(SKIPPED, "meta"))
    with pytest.raises(RuntimeError, match="meta"):
        skips.are_too_many(is_last=False)


def test_while_the_scale_of_float16_is_found_no_skip_counts() -> None:
    """From 65,536 down to 1 are 16 halvings; a diverged run goes on being skipped there."""
    skips = Skips()
    assert looks(skips, [SKIPPED] * 16, scale=2.0) == [False] * 16
    assert skips.in_a_row == 0
    assert looks(skips, [SKIPPED] * 10, scale=1.0) == [*[False] * 9, True]
