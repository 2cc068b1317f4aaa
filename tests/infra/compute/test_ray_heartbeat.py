"""The heartbeat on Ray: an actor beside the driver; whoever loses it works on."""

import time

import pytest
import ray

from infra.compute.cluster import Cluster
from infra.compute.heartbeat import Pulse
from infra.compute.ray_heartbeat import RayHeartbeat, start_heartbeat


@pytest.fixture
def heartbeat(ray_cluster: Cluster) -> RayHeartbeat:
    ray_cluster.connect()
    return start_heartbeat()


def test_beats_and_the_wish_to_stop_cross_processes(heartbeat: RayHeartbeat) -> None:
    assert heartbeat.latest(wait_s=30) == (0, {})

    @ray.remote(num_cpus=0)
    def work(handle: RayHeartbeat, step: int) -> bool:
        return handle.beat({"step": step, "loss": None})

    assert ray.get(work.remote(heartbeat, 1)) is False
    assert heartbeat.latest(wait_s=30) == (1, {"step": 1, "loss": None})
    heartbeat.request_stop()
    heartbeat.latest(wait_s=30)  # it has arrived then; calls of two processes come in any order
    assert ray.get(work.remote(heartbeat, 2)) is True
    before = heartbeat.latest()
    assert before[0] in (1, 2), "without a wait it says what it knows"
    assert heartbeat.latest(wait_s=30)[0] == 2


def test_it_lives_on_the_drivers_node(heartbeat: RayHeartbeat) -> None:
    place = heartbeat._actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
    assert ray.get(place) == ray.get_runtime_context().get_node_id()


def test_a_lost_actor_costs_beats_alone(heartbeat: RayHeartbeat) -> None:
    heartbeat.beat({"step": 1})
    assert heartbeat.latest(wait_s=30)[0] == 1
    ray.kill(heartbeat._actor)
    with Pulse(heartbeat.beat, every_s=0.05) as pulse:
        time.sleep(0.2)
        assert not pulse.stop
    for wait_s in (0.0, 1.0, 0.0):
        assert heartbeat.latest(wait_s) == (1, {"step": 1})
    heartbeat.request_stop()
