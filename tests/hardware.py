"""Made-up nodes, and the answers that the nodes of a test's Ray cluster give about themselves."""

from infra.compute.hardware import Gpu, Hardware

GIB = 1 << 30
H100 = Gpu(name="NVIDIA H100", capability=(9, 0), bfloat16=True, memory=80 * GIB)
A100 = Gpu(name="NVIDIA A100", capability=(8, 0), bfloat16=True, memory=40 * GIB)
T4 = Gpu(name="Tesla T4", capability=(7, 5), bfloat16=False, memory=16 * GIB)
VERSIONS = {"python": "3.11", "numpy": "2.1", "pillow": "11", "pyarrow": "25", "scikit-learn": "1.7", "torch": "2.13"}


def node(*gpus: Gpu, cpu: str = "x86_64 AVX2", bfloat16: bool = False, torch: str = "2.13") -> Hardware:
    """A node with these GPUs, of a common processor."""
    return Hardware(
        host="somewhere",
        cpu=cpu,
        cpu_bfloat16=bfloat16,
        cores=4,
        gpus=gpus,
        nccl=bool(gpus),
        versions=VERSIONS | {"torch": torch},
        compiler="g++ 12",
    )


CPU_NODE, H100_NODE, A100_NODE, T4_NODE = node(), node(H100), node(A100), node(T4)


def answer_by_resource() -> Hardware:
    """The answer of a node of a test's Ray cluster: its custom resource tells what it pretends to be."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    (resources,) = (one["Resources"] for one in ray.nodes() if one["NodeID"] == here)
    kinds = {"h100": H100_NODE, "t4": T4_NODE, "old": node(torch="2.11"), "blind": CPU_NODE}
    return next((kinds[name] for name in kinds if name in resources), CPU_NODE)
