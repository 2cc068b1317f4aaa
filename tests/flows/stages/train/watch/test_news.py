"""New points reach the curves and the log once, warnings when they first hold."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from flows.points import PointFigures
from flows.stage import Context
from flows.stages.train.watch.measurement import Measured
from flows.stages.train.watch.news import WatchNews
from flows.stages.train.watch.records import commit_measured
from infra.compute.cluster import Cluster
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_store

FALLING = [{"images_seen": 10 * place, "loss": 1 / place} for place in range(1, 10)]


class Bench:
    def __init__(self, root: str) -> None:
        self.store = store = open_store(root)
        store.make()
        self.output = Output(store=store, plan=Plan(stage="train", format_version=1, settings={}, inputs={}))
        self.rows: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.context = Context(
            store=store, cluster=Cluster(mode="in-process"), say=self.lines.append, on_history=self.rows.extend
        )

    def point(self, place: int, loss: float) -> None:
        self.output.commit(f"points/{place:012d}", "bin", b"weights", {})
        figures = PointFigures(split="test", images=8, loss=loss, loss_stderr=0.01)
        losses = loss + torch.linspace(-0.1, 0.1, 8)[:, None].expand(-1, 2) + 1e-3 * torch.eye(8)[:, :2]
        commit_measured(self.output, place, Measured(figures=figures, tensors={"losses": losses}))


@pytest.fixture
def bench(tmp_path: Any) -> Bench:
    return Bench(str(tmp_path / "root"))


def test_each_point_once(bench: Bench) -> None:
    bench.point(20, 0.5)
    news = WatchNews(bench.output, bench.context, goal=90)
    bench.point(40, 0.4)
    bench.point(100, 0.3)
    for _ in range(2):
        news.look(FALLING)
    assert bench.lines == ["    train at 40 images held-out loss 0.4000"]
    (row,) = bench.rows
    assert (row["images_seen"], row["held_out_loss"], row["held_out_loss_stderr"]) == (40, 0.4, 0.01)
    assert row["time_ms"] > 0


def test_a_warning_goes_where_warnings_go(bench: Bench) -> None:
    warned: list[str] = []
    news = WatchNews(bench.output, replace(bench.context, on_warning=warned.append), goal=90)
    for place, loss in ((20, 0.4), (40, 0.5), (60, 0.6)):
        bench.point(place, loss)
        news.look(FALLING)
    assert [line for line in warned if "overfits" in line] == warned != []
    assert not [line for line in bench.lines if "overfits" in line]


def test_a_warning_once(bench: Bench) -> None:
    news = WatchNews(bench.output, bench.context, goal=90)
    for place, loss in ((20, 0.4), (40, 0.5), (60, 0.6)):
        bench.point(place, loss)
        news.look(FALLING)
    overfitted = [line for line in bench.lines if "overfits: from 20 to 40 images" in line]
    assert len(overfitted) == len([line for line in bench.lines if "overfits" in line]) == 1


def test_a_resumed_run_knows_earlier_points(bench: Bench) -> None:
    bench.point(20, 0.4)
    news = WatchNews(bench.output, bench.context, goal=90)
    bench.point(40, 0.5)
    news.look(FALLING)
    assert any("overfits: from 20 to 40" in line for line in bench.lines)


@pytest.mark.parametrize("folder", ["watch", "points"])
def test_a_damaged_record_is_left_out_and_named_once(bench: Bench, folder: str) -> None:
    bench.point(20, 0.5)
    bench.point(40, 0.4)
    damaged = f"{bench.output.folder}/{folder}/{20:012d}.json"
    bench.store.replace(damaged, b"")
    news = WatchNews(bench.output, bench.context, goal=90)
    bench.point(60, 0.3)
    for _ in range(2):
        news.look(FALLING)
    assert [row["images_seen"] for row in bench.rows] == [60]
    damage, measured = bench.lines
    assert "the point at 20 images" in damage
    assert damaged in damage
    assert "at 60 images held-out loss" in measured
