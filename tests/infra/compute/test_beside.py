"""A worker beside a group: work and answers, errors, losses, and no room."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.compute.beside import Answer, Beside, _Actor
from infra.compute.cluster import Cluster
from infra.compute.units import Workers
from infra.errors import InputError, StorageError


def open_work(values: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return work that counts how often this process was asked."""
    count = [0]

    def run(work: dict[str, Any]) -> dict[str, Any]:
        count[0] += 1
        if work["do"] == "die":
            os._exit(1)
        if work["do"] == "wait":
            raise StorageError("does not answer")
        if work["do"] == "refuse":
            raise InputError("is not there", item="the point")
        if work["do"] == "break":
            raise ZeroDivisionError("by zero\nmore")
        if work["do"] == "hang":
            time.sleep(3600)
        return {"value": values["value"], "count": count[0], "nice": os.nice(0)}

    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(cpus=4) as cluster:
        cluster.connect()
        yield cluster


def answer(beside: Beside, do: str) -> Answer:
    beside.submit({"do": do})
    assert beside.is_busy
    assert not beside.is_free
    found = beside.poll(60.0)
    assert found is not None
    assert found.work == {"do": do}
    return found


def test_it_works_fails_and_is_lost(cluster: Cluster) -> None:
    """One Ray for all: the worker opens once, an error is a line, a lost one is replaced, the third is the last."""
    beside = Beside(open_work, {"value": 7}, Workers(cpus=1))
    assert beside.poll() is None
    first, second = answer(beside, "work"), answer(beside, "work")
    assert first.result == {"value": 7, "count": 1, "nice": 19}, "Ray's workers have 15, and the least is 19"
    assert second.result == {"value": 7, "count": 2, "nice": 19}
    refused, broken = answer(beside, "refuse"), answer(beside, "break")
    assert refused.result is broken.result is None
    assert "is not there" in refused.error
    assert broken.error == "by zero"
    assert refused.again_in_s is broken.again_in_s is None
    assert not beside.waits_for_room
    beside.submit({"do": "hang"})
    assert beside.poll(0.1) is None
    beside.end()
    assert beside.is_free
    assert answer(beside, "work").result is not None, "a new worker"
    for left in (True, True, False):
        lost = answer(beside, "die")
        assert lost.error.startswith("its worker was lost")
        assert lost.again_in_s == 0
        assert beside.is_free is left


def test_work_that_the_store_kept_from_its_end_may_be_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.compute.beside.end_with_parent", lambda: None)
    monkeypatch.setattr("infra.compute.beside.os.nice", lambda _: 0)
    actor = _Actor(open_work, {"value": 7})
    away, refused = (Answer(work={}, **actor.run({"do": do})) for do in ("wait", "refuse"))
    assert (away.result, away.error, away.again_in_s) == (None, "does not answer", 30)
    assert (refused.error, refused.again_in_s) == ("the point: is not there", None)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ([{"CPU": 6.0, "GPU": 3.0}], True),
        ([{"CPU": 5.0, "GPU": 3.0}] * 20, False),
        ([{"CPU": 6.0, "GPU": 2.0}] * 20, False),
        ([{}, {"CPU": 2.0}, {"CPU": 8.0, "GPU": 4.0}], True),
    ],
)
def test_others_work_leaves_no_room(
    monkeypatch: pytest.MonkeyPatch, free: list[dict[str, float]], expected: bool
) -> None:
    """A group of two, with 2 CPUs and a GPU each, and one more; what was taken a moment ago may become free."""
    now, answers = [0.0], iter(free)
    monkeypatch.setattr("ray.available_resources", lambda: next(answers))
    monkeypatch.setattr("infra.compute.beside.time.monotonic", lambda: now[0])
    monkeypatch.setattr("infra.compute.beside.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert Beside(open_work, {}, Workers(count=2, cpus=2, gpus=1)).has_room() is expected


def hold() -> None:
    time.sleep(3600)


def test_a_worker_that_finds_no_room_is_known(cluster: Cluster) -> None:
    """Other work holds the CPUs; as soon as they are free, it starts."""
    import ray

    beside = Beside(open_work, {"value": 7}, Workers(cpus=1))
    assert beside.has_room()
    other = ray.remote(num_cpus=int(ray.cluster_resources()["CPU"]))(hold).remote()
    while ray.available_resources().get("CPU", 0):
        time.sleep(0.05)
    assert not beside.has_room()
    beside.submit({"do": "work"})
    assert beside.poll(0.5) is None
    assert beside.waits_for_room
    ray.cancel(other, force=True)
    assert beside.poll(60.0) is not None
    assert not beside.waits_for_room
    beside.end()


def test_room_is_asked_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.compute.cluster.usable_cores", lambda: 4)
    assert cluster.beside(open_work, {}, group=Workers(count=3, cpus=1)) is not None
    assert cluster.beside(open_work, {}, group=Workers(count=4, cpus=1)) is None
    assert cluster.beside(open_work, {}, group=Workers(count=1, gpus=1)) is None
    monkeypatch.setattr("infra.compute.cluster.usable_cores", lambda: 1)
    assert cluster.beside(open_work, {}, group=Workers(count=1, cpus=1)) is None, (
        "Ray's spare CPUs are not this machine's"
    )
    assert Cluster(mode="in-process").beside(open_work, {}, group=Workers()) is None
