"""Every way in which memory runs out is one line with a remedy; other errors pass."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from infra.compute.memory import MemoryWatch, memory_errors
from infra.errors import ConfigError, ResourceError


def too_much() -> None:
    torch.empty(1 << 60)  # torch's own error, from the allocator of this machine


def cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nmore")


def driver() -> None:
    raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ...")


def cublas() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def numpy() -> None:
    raise MemoryError("Unable to allocate 8 EiB")


def python() -> None:
    raise MemoryError


@pytest.mark.parametrize("fail", [too_much, cuda, driver, cublas, numpy, python])
def test_memory_that_runs_out_is_one_line(fail: Callable[[], None]) -> None:
    with pytest.raises(ResourceError) as caught, memory_errors("sample", "set a smaller sample.batch_size"):
        fail()
    line = str(caught.value)
    assert line.startswith("sample: memory ran out (")
    assert line.endswith(") - set a smaller sample.batch_size")
    assert "\n" not in line
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), ConfigError("bad")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory_errors("sample", ""):
        raise error
    assert caught.value is error


@dataclass(frozen=True)
class Hungry:
    """A task in units that runs out of memory when it is opened, or in one unit."""

    at: int | None

    def open(self) -> Callable[[int], None]:
        if self.at is None:
            too_much()
        return lambda unit: too_much() if unit == self.at else None


def test_a_unit_that_needs_too_much() -> None:
    watch = pickle.loads(pickle.dumps(MemoryWatch(task=Hungry(1), stage="evaluate", remedy="less")))
    run = watch.open()
    run(0)
    with pytest.raises(ResourceError, match=r"^evaluate: memory ran out .*DefaultCPUAllocator.* - less$"):
        run(1)
    with pytest.raises(ResourceError, match=r"^evaluate: memory ran out"):
        MemoryWatch(task=Hungry(None), stage="evaluate", remedy="less").open()
