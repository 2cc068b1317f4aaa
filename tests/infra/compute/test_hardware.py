"""Device, number format, environment and backend follow from the answers of nodes, which this machine is none of."""

import json
from dataclasses import replace

import pytest

from infra.compute.hardware import (
    Hardware,
    environments,
    gpu_memory,
    group_backend,
    joined,
    mixture,
    resolve_device,
    resolve_dtype,
)
from infra.errors import ConfigError
from tests.hardware import A100_NODE, CPU_NODE, GIB, H100, H100_NODE, T4, T4_NODE, node

NATIVE = node(bfloat16=True)


@pytest.mark.parametrize("hardware", [CPU_NODE, H100_NODE, node(H100, T4)], ids=["cpu", "gpu", "two"])
def test_an_answer_travels_as_json(hardware: Hardware) -> None:
    assert Hardware.from_json(json.loads(json.dumps(hardware.as_json()))) == hardware


@pytest.mark.parametrize(
    ("nodes", "expected"), [([], "cpu"), ([CPU_NODE], "cpu"), ([H100_NODE], "cuda"), ([CPU_NODE, T4_NODE], "cuda")]
)
def test_auto_takes_cuda_where_it_is(nodes: list[Hardware], expected: str) -> None:
    assert resolve_device("auto", nodes) == expected
    assert resolve_device("cpu", nodes) == "cpu"
    assert resolve_device("cuda", nodes) == "cuda"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [([NATIVE], "bfloat16"), ([CPU_NODE], "float32"), ([NATIVE, CPU_NODE], "float32"), ([], "float32")],
)
def test_auto_takes_bfloat16_if_all_processors_multiply_it(nodes: list[Hardware], expected: str) -> None:
    assert resolve_dtype("auto", "cpu", nodes) == expected
    assert resolve_dtype("float32", "cpu", nodes) == "float32"
    assert resolve_dtype("bfloat16", "cpu", nodes) == "bfloat16"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([H100_NODE], "bfloat16"),
        ([T4_NODE], "float16"),
        ([H100_NODE, A100_NODE], "bfloat16"),
        ([H100_NODE, T4_NODE], "float16"),
        ([node(H100, T4)], "float16"),
        ([], "float16"),
    ],
)
def test_auto_takes_bfloat16_if_all_gpus_multiply_it(nodes: list[Hardware], expected: str) -> None:
    assert resolve_dtype("auto", "cuda", nodes) == expected


@pytest.mark.parametrize("name", ["float16", "tf32"])
def test_a_format_of_gpus_is_refused_on_a_processor(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^dtype: {name} is for GPUs.* - set dtype=auto or dtype=float32$") as caught:
        resolve_dtype(name, "cpu", [H100_NODE])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("nodes", "has"),
    [([T4_NODE], False), ([A100_NODE], True), ([H100_NODE], True), ([H100_NODE, T4_NODE], False), ([], True)],
)
def test_tf32_by_name_needs_gpus_that_have_it(nodes: list[Hardware], has: bool) -> None:
    """An older one would take the flag, say nothing, and compute float32."""
    if has:
        assert resolve_dtype("tf32", "cuda", nodes) == "tf32"
    else:
        with pytest.raises(ConfigError, match=r"^dtype: Tesla T4 has no tf32 - set dtype=auto"):
            resolve_dtype("tf32", "cuda", nodes)
    assert resolve_dtype("float16", "cuda", nodes) == "float16"


def test_the_environment_is_the_workers() -> None:
    (found,) = environments("cuda", [H100_NODE, H100_NODE], ("torch",))
    assert found == {"device": "NVIDIA H100", "python": "3.11", "torch": "2.13"}
    (found,) = environments("cpu", [H100_NODE], ("torch", "pyarrow"), compiles=True)
    assert found == {"device": "x86_64 AVX2", "python": "3.11", "torch": "2.13", "pyarrow": "25", "compiler": "g++ 12"}


def test_what_is_not_there_is_unknown() -> None:
    bare = replace(CPU_NODE, versions={"python": "3.12"}, compiler="")
    (found,) = environments("cpu", [bare], ("torch",), compiles=True)
    assert found == {"device": "x86_64 AVX2", "python": "3.12", "torch": "unknown", "compiler": "unknown"}


def test_a_processor_in_a_gpus_node_does_not_count_for_work_on_the_gpu() -> None:
    other = replace(H100_NODE, cpu="aarch64 DEFAULT", cores=1)
    assert mixture(environments("cuda", [H100_NODE, other], ("torch",))) == ""
    assert mixture(environments("cpu", [H100_NODE, other], ("torch",))) == "device: aarch64 DEFAULT; x86_64 AVX2"


def test_what_differs_is_joined_in_sorted_order() -> None:
    older = node(T4, torch="2.11")
    for nodes in ([H100_NODE, older], [older, H100_NODE]):
        found = environments("cuda", nodes, ("torch",))
        assert len(found) == 2
        assert joined(found) == {"device": "NVIDIA H100; Tesla T4", "python": "3.11", "torch": "2.11; 2.13"}
        assert mixture(found) == "device: NVIDIA H100; Tesla T4, torch: 2.11; 2.13"


def test_two_kinds_of_gpus_in_one_node_are_a_mixture() -> None:
    assert mixture(environments("cuda", [node(H100, T4)], ())) == "device: NVIDIA H100; Tesla T4"
    assert mixture(environments("cuda", [node(T4, T4)], ())) == ""


@pytest.mark.parametrize(
    ("gpus", "nodes", "expected"),
    [
        (0, [CPU_NODE], "gloo"),
        (0, [H100_NODE], "gloo"),
        (1, [H100_NODE, T4_NODE], "nccl"),
        (1, [H100_NODE, CPU_NODE], "gloo"),
        (1, [H100_NODE, replace(H100_NODE, nccl=False)], "gloo"),
        (2, [node(H100, H100)], "gloo"),
        (1, [], "gloo"),
    ],
)
def test_nccl_needs_a_gpu_of_each_worker_and_itself(gpus: int, nodes: list[Hardware], expected: str) -> None:
    assert group_backend(gpus, nodes) == expected


def test_the_smallest_gpu_has_to_hold_the_work() -> None:
    assert gpu_memory([node(H100, T4), A100_NODE]) == 16 * GIB
    assert gpu_memory([CPU_NODE]) == 0
