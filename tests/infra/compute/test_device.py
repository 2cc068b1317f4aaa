"""Device and dtype resolve once, and what bytes depend on is written down."""

import platform

import numpy as np
import pytest
import torch

from infra.compute.device import environment, prepare_process, resolve_device, resolve_dtype, torch_dtype
from infra.errors import ConfigError


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


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_a_gpu(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: native)
    assert resolve_dtype("auto", "cuda") == expected


def test_every_resolved_name_is_a_dtype() -> None:
    assert torch_dtype("float32") is torch.float32
    assert torch_dtype("bfloat16") is torch.bfloat16


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
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            prepare_process(threads)
            assert torch.get_num_threads() == threads
        assert torch.backends.cudnn.benchmark is False
    finally:
        torch.set_num_threads(before)
