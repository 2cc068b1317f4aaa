"""A driver on a head without processors and GPUs asks the nodes that work, which here only pretend to have GPUs."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster as Machines
from ray.util import placement_group_table

from infra.compute.answers import alive, ask, holding
from infra.compute.autoscaler import has_autoscaler
from infra.compute.cluster import Cluster
from infra.compute.connection import Connection
from infra.compute.hardware import Hardware
from infra.compute.heartbeat import Beat
from infra.compute.nodes import HERE
from infra.compute.units import Workers, fitting
from infra.errors import ConfigError, ResourceError
from tests.hardware import CPU_NODE, H100_NODE, answer_by_resource

GPU = Workers(gpus=1)
HEAD = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def machines(ray_cluster: Cluster) -> Iterator[Machines]:
    """A head without processors, a node with a GPU and a processor, and one with two processors."""
    # A process keeps the mode of its first connection, which for a local Ray is a token; in another mode the head could
    # not ask this driver about its actors, and would end them.
    ray_cluster.connect()
    ray_cluster.__exit__(None, None, None)
    with contextlib.closing(Connection(None, 1)) as local, pytest.MonkeyPatch.context() as patch:
        local._set_token()
        patch.setenv("RAY_AUTH_MODE", "token")
        made = Machines(initialize_head=True, head_node_args=HEAD)
        try:
            made.add_node(num_cpus=1, num_gpus=1, resources={"h100": 1}, object_store_memory=80 << 20)
            made.add_node(num_cpus=2, object_store_memory=80 << 20)
            yield made
        finally:
            made.shutdown()


@pytest.fixture
def connect(machines: Machines) -> Iterator[Callable[..., Cluster]]:
    """Connect a driver."""
    opened: list[Cluster] = []

    def connect(**more: object) -> Cluster:
        cluster = Cluster(address=machines.address, **({"probe": answer_by_resource} | more))
        cluster.connect()
        opened.append(cluster)
        return cluster

    yield connect
    for cluster in opened:
        cluster.__exit__(None, None, None)


@pytest.fixture
def cluster(connect: Callable[..., Cluster]) -> Cluster:
    return connect()


def refused(call: Callable[[], object], within_s: float = 30) -> str:
    """The line of a refusal, which comes in time and has exit code 7."""
    began = time.monotonic()
    with pytest.raises(ResourceError) as caught:
        call()
    assert caught.value.exit_code == 7
    assert time.monotonic() - began < within_s
    return str(caught.value)


def test_the_nodes_that_can_hold_a_worker_answer_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(cluster.nodes.hold(GPU, stage="train").values()) == [H100_NODE]
    answers = cluster.nodes.hold(Workers(), stage="train")
    assert sorted(answers.values(), key=lambda node: len(node.gpus)) == [CPU_NODE, H100_NODE]
    assert ray.get_runtime_context().get_node_id() not in answers, "the head can hold nothing, and is not asked"
    monkeypatch.setattr("infra.compute.nodes.ask", lambda nodes, *_: pytest.fail("asked again") if nodes else {})
    assert list(cluster.nodes.hold(Workers(cpus=2), stage="train").values()) == [CPU_NODE]
    assert cluster.nodes.hold(Workers(), stage="train") == answers


def test_a_node_that_others_keep_busy_answers_too(cluster: Cluster) -> None:
    @ray.remote(num_cpus=1)
    class Busy:
        def wait(self) -> None:
            pass

    others = [Busy.remote() for _ in range(3)]
    ray.get([one.wait.remote() for one in others])
    assert ray.available_resources().get("CPU", 0) == 0
    assert len(cluster.nodes.hold(Workers(), stage="train")) == 2
    for one in others:
        ray.kill(one)


def test_auto_is_cuda_if_a_node_can_hold_a_worker_with_a_gpu(cluster: Cluster) -> None:
    assert cluster.nodes.device("auto", cpus=1, stage="train") == "cuda"
    assert cluster.nodes.device("auto", cpus=2, stage="train") == "cpu", "the node of the GPU has one processor"
    assert cluster.nodes.device("cpu", cpus=1, stage="train") == "cpu"


@pytest.mark.parametrize(
    ("workers", "says"),
    [
        (Workers(cpus=3), "1 workers of 3 CPU each do not fit the cluster's 3 nodes with 3 CPU and 1 GPU in all"),
        (Workers(cpus=2, gpus=1), "1 workers of 2 CPU and 1 GPU each do not fit"),
        (Workers(count=2, gpus=1), "2 workers of 1 CPU and 1 GPU each do not fit"),
    ],
)
def test_what_cannot_fit_is_refused_at_once(cluster: Cluster, workers: Workers, says: str) -> None:
    assert says in refused(lambda: cluster.nodes.make_room(workers, stage="train"))


def test_as_many_workers_as_there_is_room_for(cluster: Cluster) -> None:
    counts = [
        cluster.nodes.sized(workers, stage="sample", group=group).count
        for workers, group in (
            (Workers(count=0), False),
            (Workers(count=0, cpus=2), False),
            (Workers(count=0, gpus=1), False),
            (Workers(count=0, gpus=1), True),
            (Workers(count=0), True),
            (Workers(count=7), True),
        )
    ]
    assert counts == [3, 1, 1, 1, 1, 7]


@dataclass(frozen=True)
class Places:
    """Leaves a file named after the node of each unit."""

    folder: str

    def open(self) -> Callable[[int], None]:
        here = ray.get_runtime_context().get_node_id()
        return lambda unit: (Path(self.folder) / f"{unit}-{here}").touch()


def test_units_run_where_the_gpus_are(cluster: Cluster, tmp_path: Path) -> None:
    done: list[int] = []
    cluster.run_units(
        Places(str(tmp_path)), range(3), workers=Workers(count=0, gpus=1), stage="sample", on_done=done.append
    )
    (gpu,) = cluster.nodes.hold(GPU, stage="sample")
    assert sorted(done) == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{unit}-{gpu}" for unit in range(3)]


def answer_without_nccl() -> Hardware:
    return replace(answer_by_resource(), nccl=False)


def name_place(config: dict[str, Any], _beat: Beat) -> None:
    import torch.distributed as dist

    place = f"{dist.get_rank()}-{dist.get_world_size()}-{dist.get_backend()}"
    (Path(config["folder"]) / f"{place}-{ray.get_runtime_context().get_node_id()}").touch()


@pytest.mark.slow
def test_a_group_has_a_worker_for_each_gpu_of_the_cluster(
    connect: Callable[..., Cluster], machines: Machines, tmp_path: Path
) -> None:
    """By gloo, since the nodes here say that they have no NCCL."""
    added = machines.add_node(num_cpus=1, num_gpus=1, resources={"t4": 1}, object_store_memory=80 << 20)
    cluster = connect(probe=answer_without_nccl)
    (tmp_path / "places").mkdir()
    cluster.run_group(
        name_place,
        {"folder": str(tmp_path / "places")},
        workers=Workers(count=0, gpus=1),
        stage="train",
        run_folder=str(tmp_path / "runs"),
        on_poll=lambda: 0,
    )
    places = [path.name.split("-") for path in (tmp_path / "places").iterdir()]
    assert sorted(place[:3] for place in places) == [["0", "2", "gloo"], ["1", "2", "gloo"]]
    assert {place[3] for place in places} == set(cluster.nodes.hold(GPU, stage="train"))
    machines.remove_node(added)


def test_a_gpu_that_torch_does_not_see_is_an_error(connect: Callable[..., Cluster]) -> None:
    """By the probe itself: these nodes offer GPUs that they do not have."""
    line = refused(lambda: connect(probe=None).nodes.hold(GPU, stage="train"))
    assert re.search("train: node .*: offers a GPU to Ray, and its torch sees none", line)


def wait_long() -> Hardware:
    time.sleep(60)
    return CPU_NODE


def fail() -> Hardware:
    raise ModuleNotFoundError("No module named 'infra'")


@pytest.mark.parametrize(
    ("probe", "limit_s", "cause"), [(wait_long, 1, "no answer within 1 s"), (fail, 120, "No module named 'infra'")]
)
def test_a_node_that_does_not_answer_is_named(
    cluster: Cluster, probe: Callable[[], Hardware], limit_s: float, cause: str
) -> None:
    line = refused(lambda: ask(holding(Workers()), probe, "train", limit_s), limit_s + 30)
    address = alive()[0]["NodeManagerAddress"]
    assert line.startswith(f"train: node {address}: does not say what it has (")
    assert cause in line


def test_a_node_that_is_gone_is_left_out(cluster: Cluster) -> None:
    assert ask(["ab" * 28], answer_by_resource, "train", limit_s=2) == {}


class TestAutoscaler:
    """A cluster that says of itself that it brings nodes; the test brings them."""

    def test_this_one_brings_none(self, cluster: Cluster) -> None:
        assert not has_autoscaler()

    def test_nodes_are_asked_for_and_waited_for(
        self, connect: Callable[..., Cluster], machines: Machines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster, lines = connect(autoscales=lambda: True, patience_s=60), []
        added: list[object] = []

        def bring(workers: Workers) -> int:
            """Bring a node as soon as the demand is seen; in this thread, since Ray handles signals of its nodes."""
            demands = [group["bundles"][0] for group in placement_group_table().values() if _is_pending(group)]
            if demands and not added:
                assert demands == [{"CPU": 4.0}]
                added.append(machines.add_node(num_cpus=4, object_store_memory=80 << 20))
            return fitting(workers)

        monkeypatch.setattr("infra.compute.room.fitting", bring)
        cluster.nodes.make_room(Workers(cpus=4), stage="sample", on_wait=lines.append)
        (line,) = lines
        assert line == "   sample waits for nodes: the autoscaler is asked for room for 1 workers of 4 CPU each"
        assert not any(map(_is_pending, placement_group_table().values())), "the demand ends with the wait"
        assert len(cluster.nodes.hold(Workers(), stage="sample")) == 3, "a node that joined is asked"
        machines.remove_node(added[0])

    def test_an_end_to_patience(self, connect: Callable[..., Cluster]) -> None:
        cluster = connect(autoscales=lambda: True, patience_s=1)
        line = refused(lambda: cluster.nodes.hold(Workers(cpus=9), stage="sample"))
        assert "the autoscaler brought no room for 1 workers of 9 CPU each within 1 s" in line
        assert not cluster.nodes.has_room(Workers(cpus=9), stage="sample")


def _is_pending(group: dict[str, object]) -> bool:
    return group["state"] == "PENDING"


class TestOneMachine:
    """Nothing is started to ask it."""

    @pytest.fixture(autouse=True)
    def _no_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
        monkeypatch.setattr(ray, "is_initialized", lambda: False)

    @pytest.mark.parametrize("mode", ["ray", "in-process"])
    def test_it_answers_itself(self, mode: str) -> None:
        nodes = Cluster(mode=mode, probe=lambda: H100_NODE).nodes
        assert nodes.hold(GPU, stage="train") == {HERE: H100_NODE}
        assert nodes.device("auto", cpus=64, stage="train") == "cuda"

    @pytest.mark.parametrize(("mode", "error"), [("ray", ResourceError), ("in-process", ConfigError)])
    def test_a_gpu_that_is_not_there(self, mode: str, error: type[Exception]) -> None:
        nodes = Cluster(mode=mode, probe=lambda: CPU_NODE).nodes
        assert nodes.device("auto", cpus=1, stage="train") == "cpu"
        with pytest.raises(error, match="train: device: cuda was asked for and this machine has none - set device=cpu"):
            nodes.hold(GPU, stage="train")

    def test_its_own_cores_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("infra.compute.nodes.usable_cores", lambda: 5)
        sized = Cluster().nodes.sized
        assert [sized(Workers(count=0, cpus=n), stage="sample").count for n in (1, 2, 9)] == [5, 2, 1]
        assert Cluster(mode="in-process").nodes.sized(Workers(count=0, gpus=1), stage="train", group=True).count == 1
