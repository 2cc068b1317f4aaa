"""A machine names what torch finds on it."""

import os
import platform
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infra.compute.cores import usable_cores
from infra.compute.hardware import PACKAGES, Gpu, environments
from infra.compute.probe import probe, probe_node


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        SimpleNamespace(name="NVIDIA H100", major=9, minor=0, total_memory=1 << 36),
        SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=1 << 34),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_properties", found.__getitem__)


@pytest.fixture
def hidden() -> Iterator[None]:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    yield
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if before is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = before


def test_versions_and_processor_and_no_host_in_the_environment() -> None:
    here = probe()
    assert here.cpu == f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    assert here.cores == usable_cores()
    assert here.versions.keys() == {"python", *PACKAGES}
    assert here.versions["torch"] == torch.__version__
    assert here.versions["numpy"] == np.__version__
    assert here.versions["python"] == ".".join(platform.python_version().split(".")[:2])
    (environment,) = environments("cpu", [here])
    assert platform.node() not in environment.values()
    assert here == probe()


def test_all_gpus_are_named(two_gpus: None) -> None:
    """GPUs before capability 8 have no bfloat16 of their own, but torch makes tensors of it there."""
    assert probe().gpus == (
        Gpu(name="NVIDIA H100", capability=(9, 0), bfloat16=True, memory=1 << 36),
        Gpu(name="Tesla T4", capability=(7, 5), bfloat16=False, memory=1 << 34),
    )
    assert probe(gpus=False).gpus == ()


@pytest.mark.parametrize(("bf16", "amx", "native"), [(True, False, True), (False, True, True), (False, False, False)])
def test_a_processor_that_multiplies_bfloat16(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, amx: bool, native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert probe().cpu_bfloat16 is native


def test_a_task_that_ray_hid_the_gpus_from_sees_them(hidden: None) -> None:
    probe_node()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_choice_of_the_nodes_owner_stays(hidden: None) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "1"
    probe_node()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_the_compiler_is_asked_only_if_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.compute.probe.compiler_version", lambda: "g++ 99")
    assert probe().compiler == "g++ 99"
    assert probe(compiler=False).compiler == ""
