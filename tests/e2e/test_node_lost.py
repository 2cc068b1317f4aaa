"""A node lost in the middle of a stage costs the units it was at, nothing else."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

import infra.cluster
from infra.errors import ResourceError
from infra.ray_errors import plain_errors
from infra.ray_units import Workers, start_ledger, stream_units
from tests.e2e.processes import Command, digests, settings

pytestmark = pytest.mark.slow

UNITS = 60
# A node that does not answer is given up after one and a half seconds, not half a minute.
QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3", "RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without processors, and two nodes of one."""
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ |= QUICK
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=80 << 20)
        yield made
    finally:
        made.shutdown()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Large ones, so that a unit takes long enough to be lost: names of a few files, eighty train and test."""
    folder = tmp_path / "images"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
    for kind in range(4):
        pixels = np.random.default_rng(kind).integers(0, 256, (800, 800, 3), dtype=np.uint8)
        first = folder / "train" / f"{kind}-000.jpg"
        Image.fromarray(pixels).save(first, quality=90)
        for copy in range(1, 200):
            os.link(first, folder / ("test" if copy % 10 == 0 else "train") / f"{kind}-{copy:03d}.jpg")
    return folder


def test_a_node_lost_during_the_preparation(cluster: Cluster, images: Path, tmp_path: Path) -> None:
    units = -(-800 // UNITS)
    arguments = ["prepare", "folder", *settings(f"prepare.source={images}", f"prepare.unit_images={units}")]
    alone, root = tmp_path / "alone", tmp_path / "root"
    straight = Command([*arguments, "--root", str(alone), "--in-process"], tmp_path / "straight")
    assert straight.wait() == 0, straight.text()

    environment = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
    running = Command(
        [*arguments, "--root", str(root), *settings("prepare.workers=2")], tmp_path / "log", **environment
    )
    running.await_that(lambda: len(accounts(root)) >= UNITS // 4)
    before = accounts(root)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert len(before) < UNITS
    assert running.wait() == 0, running.text()
    assert len(running.text().splitlines()) == 1, "Ray says much of a lost node"
    assert digests(root) == digests(alone)
    after = accounts(root)
    assert {name: after[name] for name in before} == before, "what was committed was written again"
    (manifest,) = root.glob("prepare/*/manifests/all.json")
    assert sum(json.loads(manifest.read_text())["facts"]["images"].values()) == 800
    running.assert_nothing_left()


@dataclass(frozen=True)
class Slow:
    """Units of a tenth of a second."""

    def open(self) -> Callable[[int], None]:
        return lambda _: time.sleep(0.1)


def test_every_node_lost(cluster: Cluster) -> None:
    """The work ends with one line instead of waiting for ever."""
    import ray

    with infra.cluster.Cluster(address=cluster.address) as connected:
        connected.connect()
        here = ray.get_runtime_context().get_node_id()
        ledgers = [start_ledger() for _ in range(6)]
        places = [ledger.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for ledger in ledgers]
        assert set(ray.get(places)) == {here}, "a lost node would take the count of attempts with it"

        units = stream_units(Slow(), range(10_000), Workers(count=2), "prepare", ledgers[0], patience_s=5)
        assert next(units) in range(10_000)
        for node in list(cluster.worker_nodes):
            cluster.remove_node(node, allow_graceful=False)
        with plain_errors("prepare"), pytest.raises(ResourceError, match="no node has had room for a worker for 5 s"):
            list(units)


def accounts(root: Path) -> dict[str, tuple[int, int]]:
    """The committed units, with the place on the disk and the time of each."""
    found = sorted(root.glob("prepare/*/units/*.json"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}
