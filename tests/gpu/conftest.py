"""The device under test. These tests need no other conftest, so that a machine with a GPU needs few packages."""

import os
from collections.abc import Iterator

import pytest
import torch

from benchmarks.gpu.bare import stand_in_for_jaxtyping
from infra.compute.device import prepare_process

_SERVERS = ("RAY_ADDRESS", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DDPM_ROOT")


def pytest_configure() -> None:
    """Before the first test module is loaded."""
    stand_in_for_jaxtyping()


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU, or what DDPM_GPU_TESTS_DEVICE names."""
    name = os.environ.get("DDPM_GPU_TESTS_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    return torch.device(name)


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The device, for tests of what only a GPU does."""
    if device.type != "cuda":
        pytest.skip("only a GPU can show this")
    return device


@pytest.fixture(autouse=True)
def _prepared() -> Iterator[None]:
    """A process as the stages prepare it; what was set before is given back."""
    cudnn, cublas, threads = torch.backends.cudnn, torch.backends.cuda.matmul, torch.get_num_threads()
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, cublas.allow_tf32
    prepare_process(1)
    yield
    torch.set_num_threads(threads)
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, cublas.allow_tf32 = before


@pytest.fixture(autouse=True)
def _no_servers_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _SERVERS:
        monkeypatch.delenv(name, raising=False)
