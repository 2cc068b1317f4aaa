"""A node lost in the middle of a stage costs the units it was at, nothing else."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

import infra.compute.cluster
from infra.compute.heartbeat import Beat
from infra.compute.units import Workers, start_ledger
from infra.errors import ResourceError
from tests.e2e.processes import Command, digests, settings
from tests.tiny import TINY

pytestmark = pytest.mark.slow

UNITS = 60
# A node that does not answer is given up after one and a half seconds, not half a minute.
QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3", "RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without processors, and two nodes of one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=80 << 20)
            yield made
        finally:
            made.shutdown()


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
    assert all(re.match(r" *(run|prepare) ", line) for line in running.text().splitlines()), (
        "Ray says much of a lost node"
    )
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


def test_a_node_lost_during_training_and_another_that_comes(cluster: Cluster, tmp_path: Path) -> None:
    arguments = ["train", "digits", *settings(*TINY, "train.workers=2", "train.images=6400"), "--no-tracking"]
    environment = {"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"}
    undisturbed, root = tmp_path / "undisturbed", tmp_path / "root"
    straight = Command([*arguments, "--root", str(undisturbed)], tmp_path / "straight", **environment)
    assert straight.wait() == 0, straight.text()

    running = Command([*arguments, "--root", str(root)], tmp_path / "log", **environment)
    running.await_that(lambda: len(list(root.glob("train/*/checkpoints/*.json"))) >= 2)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    time.sleep(5)
    cluster.add_node(num_cpus=1)
    assert running.wait(300) == 0, running.text()
    assert digests(root) == digests(undisturbed)
    assert running.text().splitlines()[-1].startswith("    train ")
    running.assert_nothing_left()


class TestEveryNodeLost:
    """The work ends with one line instead of waiting for ever."""

    @pytest.fixture
    def connected(self, cluster: Cluster) -> Iterator[infra.compute.cluster.Cluster]:
        with infra.compute.cluster.Cluster(address=cluster.address, patience_s=5) as opened:
            opened.connect()
            yield opened

    def test_units(self, cluster: Cluster, connected: infra.compute.cluster.Cluster) -> None:
        def lose(_: int) -> None:
            for node in list(cluster.worker_nodes):
                cluster.remove_node(node, allow_graceful=False)

        workers = Workers(count=2)
        with pytest.raises(ResourceError, match="prepare: the cluster has no room for 2 workers"):
            connected.run_units(Slow(), range(10_000), workers=workers, stage="prepare", on_done=lose)

    def test_a_group(self, cluster: Cluster, connected: infra.compute.cluster.Cluster, tmp_path: Path) -> None:
        begun = tmp_path / "begun"

        def poll() -> int:
            if begun.exists():
                for node in list(cluster.worker_nodes):
                    cluster.remove_node(node, allow_graceful=False)
            return 0

        with pytest.raises(ResourceError, match="train: the cluster has no room for 2 workers"):
            connected.run_group(
                wait_long,
                {"begun": str(begun)},
                workers=Workers(count=2),
                stage="train",
                run_folder=str(tmp_path),
                on_poll=poll,
            )

    def test_a_worker_larger_than_any_node(self, connected: infra.compute.cluster.Cluster) -> None:
        with pytest.raises(ResourceError, match="do not fit the cluster's 3 nodes with 2 CPU and 0 GPU"):
            connected.run_units(Slow(), [1], workers=Workers(count=1, cpus=2), stage="prepare", on_done=lambda _: None)

    def test_the_count_of_attempts_stays_with_the_driver(self, connected: infra.compute.cluster.Cluster) -> None:
        import ray

        here = ray.get_runtime_context().get_node_id()
        ledgers = [start_ledger() for _ in range(6)]
        places = [ledger.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for ledger in ledgers]
        assert set(ray.get(places)) == {here}


def wait_long(config: dict[str, Any], _beat: Beat) -> None:
    Path(config["begun"]).touch()
    time.sleep(600)


def accounts(root: Path) -> dict[str, tuple[int, int]]:
    """The committed units, with the place on the disk and the time of each."""
    found = sorted(root.glob("prepare/*/units/*.json"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}
