"""A process computes with the threads, kernels and number format that it is given, and gives a caller's own back."""

import os
from collections.abc import Callable, Iterator

import pytest
import torch

from infra.compute.cluster import Cluster
from infra.compute.device import (
    exact_float32,
    prepare_process,
    repeatable_gradients,
    settings_kept,
    torch_dtype,
)
from infra.compute.units import Workers

CUDNN, CUBLAS = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    """Give back what a test sets."""
    threads = torch.get_num_threads()
    before = CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32, CUBLAS.allow_tf32
    yield
    torch.set_num_threads(threads)
    CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32, CUBLAS.allow_tf32 = before


def test_every_resolved_name_is_a_dtype() -> None:
    assert torch_dtype("float32") is torch.float32
    assert torch_dtype("tf32") is torch.float32
    assert torch_dtype("bfloat16") is torch.bfloat16
    assert torch_dtype("float16") is torch.float16


def test_prepare_process_fixes_the_threads() -> None:
    for threads in (2, 1):
        prepare_process(threads)
        assert torch.get_num_threads() == threads


def test_prepare_process_fixes_the_choice_of_kernels() -> None:
    CUDNN.benchmark, CUDNN.deterministic = True, False
    prepare_process(1)
    assert CUDNN.benchmark is False
    assert CUDNN.deterministic is True


def test_float32_is_no_tf32_in_a_prepared_process() -> None:
    CUDNN.allow_tf32 = CUBLAS.allow_tf32 = True
    prepare_process(1)
    assert CUDNN.allow_tf32 is False
    assert CUBLAS.allow_tf32 is False


@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16", "float16"])
def test_tf32_is_on_by_its_own_name_alone(dtype: str) -> None:
    CUDNN.allow_tf32 = CUBLAS.allow_tf32 = dtype != "tf32"
    prepare_process(1, dtype)
    assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (dtype == "tf32", dtype == "tf32")
    with exact_float32():
        assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (False, False), "the bound's, whatever the dtype"
    assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (dtype == "tf32", dtype == "tf32")


def test_gradients_need_not_repeat_if_nobody_wants_it() -> None:
    with repeatable_gradients("cuda", wanted=False):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("before", [True, False])
def test_float32_is_exact_for_a_while(before: bool) -> None:
    CUDNN.allow_tf32 = CUBLAS.allow_tf32 = before
    with exact_float32():
        assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (False, False)
    assert (CUDNN.allow_tf32, CUBLAS.allow_tf32) == (before, before)


@pytest.mark.parametrize(("device", "inside"), [("cuda", True), ("cpu", False)])
def test_gradients_are_repeatable_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch, device: str, inside: bool) -> None:
    """On a CPU they are so anyway, and the switch would change which kernels it takes."""
    before = torch.utils.deterministic.fill_uninitialized_memory
    with repeatable_gradients(device):
        assert torch.are_deterministic_algorithms_enabled() is inside
        assert torch.utils.deterministic.fill_uninitialized_memory is (before and not inside)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory is before


def test_a_callers_warnings_stay_warnings_after_a_failure() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(KeyError), repeatable_gradients("cuda"):
            raise KeyError
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("own", ["", ":16:8"])
def test_cublas_has_a_workspace_of_fixed_size(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", own)
    if not own:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    prepare_process(1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (own or ":4096:8")


def test_a_shared_process_has_its_own_settings_back() -> None:
    CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32, CUBLAS.allow_tf32 = True, False, True, True
    torch.set_num_threads(2)
    with settings_kept():
        prepare_process(1)
    assert (CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32, CUBLAS.allow_tf32) == (True, False, True, True)
    assert torch.get_num_threads() == 2


def test_work_in_the_drivers_process_leaves_its_settings() -> None:
    CUDNN.allow_tf32 = True

    class Task:
        def open(self) -> Callable[[int], None]:
            prepare_process(1)
            return lambda _: None

    Cluster(mode="in-process").run_units(Task(), [0], workers=Workers(), stage="sample", on_done=lambda _: None)
    assert CUDNN.allow_tf32
    Cluster(mode="in-process").run_group(
        lambda *_: prepare_process(1), {}, workers=Workers(), stage="train", run_folder="", on_poll=lambda: 0
    )
    assert CUDNN.allow_tf32
