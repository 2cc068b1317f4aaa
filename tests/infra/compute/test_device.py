"""Device and dtype resolve once, and what bytes depend on is written down."""

import os
import platform
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infra.compute.cluster import Cluster
from infra.compute.device import (
    environment,
    exact_float32,
    prepare_process,
    repeatable_gradients,
    resolve_device,
    resolve_dtype,
    settings_kept,
    torch_dtype,
)
from infra.compute.units import Workers
from infra.errors import ConfigError

CUDNN, CUBLAS = torch.backends.cudnn, torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    """Give back what a test sets."""
    threads = torch.get_num_threads()
    before = CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32, CUBLAS.allow_tf32
    yield
    torch.set_num_threads(threads)
    CUDNN.benchmark, CUDNN.deterministic, CUDNN.allow_tf32, CUBLAS.allow_tf32 = before


@pytest.mark.parametrize(("here", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_cuda_where_it_is(monkeypatch: pytest.MonkeyPatch, here: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: here)
    assert resolve_device("auto") == expected
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("cuda") == "cuda"


@pytest.mark.parametrize(
    ("bf16", "amx", "expected"),
    [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_auto_takes_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, amx: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve_dtype("auto", "cpu") == expected
    assert resolve_dtype("float32", "cpu") == "float32"
    assert resolve_dtype("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(("capability", "expected"), [(7, "float16"), (8, "bfloat16"), (9, "bfloat16")])
def test_auto_on_a_gpu_takes_no_bfloat16_that_is_emulated(
    monkeypatch: pytest.MonkeyPatch, capability: int, expected: str
) -> None:
    """GPUs before capability 8 have none of their own, but torch makes tensors of it there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=capability))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert resolve_dtype("auto", "cuda") == expected


def test_auto_on_cuda_where_this_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_dtype("auto", "cuda") == "float16"
    assert resolve_dtype("tf32", "cuda") == "tf32", "a worker's GPU is not this machine's to judge"


@pytest.mark.parametrize("name", ["float16", "tf32"])
def test_a_format_of_gpus_is_refused_on_a_processor(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^dtype: {name} is for GPUs.* - set dtype=auto or dtype=float32$") as caught:
        resolve_dtype(name, "cpu")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_tf32_by_name_needs_a_gpu_that_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], has: bool
) -> None:
    """An older one would take the flag, say nothing, and compute float32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    if has:
        assert resolve_dtype("tf32", "cuda") == "tf32"
    else:
        with pytest.raises(ConfigError, match=r"^dtype: Old GPU has no tf32 - set dtype=auto"):
            resolve_dtype("tf32", "cuda")
    assert resolve_dtype("float16", "cuda") == "float16"


def test_every_resolved_name_is_a_dtype() -> None:
    assert torch_dtype("float32") is torch.float32
    assert torch_dtype("tf32") is torch.float32
    assert torch_dtype("bfloat16") is torch.bfloat16
    assert torch_dtype("float16") is torch.float16


def test_the_environment_names_versions_and_processor_and_no_host() -> None:
    here = environment("cpu")
    assert here["torch"] == torch.__version__
    assert here["numpy"] == np.__version__
    assert here["device"] == f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    assert here["python"] == ".".join(platform.python_version().split(".")[:2])
    assert {"pillow", "pyarrow", "scikit-learn"} < here.keys()
    assert platform.node() not in here.values()
    assert here == environment("cpu")


def test_cuda_asked_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda") as caught:
        environment("cuda")
    assert caught.value.exit_code == 2
    assert "device=cpu" in caught.value.remedy


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
