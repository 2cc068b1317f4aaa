"""The driver's news about a training: outages of the store are bridged, losses counted, lines said once."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from ray.exceptions import WorkerCrashedError
from ray.train import WorkerGroupError

from flows.stage import Progress
from flows.stages.train.config import TrainConfig
from flows.stages.train.news import TrainingNews
from infra.compute.group import fit_group
from infra.compute.heartbeat import LocalHeartbeat, Watch
from infra.compute.units import ATTEMPTS_PER_UNIT, Workers
from infra.digests import canonical_json
from infra.errors import StorageError
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun


class TestLosses:
    """A worker is lost in every attempt; `fit_group` asks the news whether the attempt was worth it."""

    @pytest.fixture
    def output(self, tiny_run: TinyRun) -> Output:
        output = Output(store=tiny_run.store, plan=Plan(stage="train", format_version=0, settings={}, inputs={}))
        output.begin({})
        return output

    @pytest.fixture
    def attempts(
        self, tiny_run: TinyRun, config: TrainConfig, output: Output, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[Callable[[int], dict[str, int]]], int]:
        """Count the attempts if each ends with the beat that `work` gives for its number; nine are enough."""

        def count(work: Callable[[int], dict[str, int]]) -> int:
            news = TrainingNews(output=output, context=tiny_run.context, config=config, goal=1280)
            begun: list[int] = []

            def lose(*_: object) -> None:
                begun.append(1)
                news.on_beat({"phase": "loading the data"})
                news.on_beat({"phase": "", **work(len(begun))})
                if len(begun) < 9:
                    raise WorkerGroupError("lost", {0: WorkerCrashedError()})

            monkeypatch.setattr("infra.compute.group._fit_once", lose)
            monkeypatch.setattr("infra.compute.group._placement_groups", set)
            monkeypatch.setattr("infra.compute.group._await_room", lambda *_: None)
            watch = Watch(heartbeat=LocalHeartbeat(), on_poll=news.on_poll, on_beat=news.on_beat)
            try:
                fit_group(lambda *_: None, {}, Workers(count=1), "train", "/runs", watch, 600)
            except WorkerGroupError:
                assert len(begun) < 9
            return len(begun)

        return count

    def test_rows_and_points_alone_end_it(
        self, output: Output, attempts: Callable[[Callable[[int], dict[str, int]]], int]
    ) -> None:
        """They come by time, at new places each time, but nothing goes on from them."""

        def work(number: int) -> dict[str, int]:
            row = canonical_json([{"images_seen": 16 * number, "loss": 1.0}])
            output.store.put_if_absent(f"{output.folder}/history/{16 * number:012d}.json", row)
            output.commit(f"points/{16 * number:012d}", "safetensors", b"weights %d" % number, {})
            return {"resumed_at": 0, "kept": 0, "images_seen": 16 * number}

        assert attempts(work) == ATTEMPTS_PER_UNIT

    def test_a_checkpoint_in_each_goes_on(self, attempts: Callable[[Callable[[int], dict[str, int]]], int]) -> None:
        assert attempts(lambda number: {"resumed_at": 16 * (number - 1), "kept": 16 * number}) == 9

    def test_only_losses_in_a_row_count(self, attempts: Callable[[Callable[[int], dict[str, int]]], int]) -> None:
        """A checkpoint in every second."""
        assert attempts(lambda number: {"kept": 16 * (number // 2)}) == 9

    def test_a_checkpoint_below_a_damaged_one_counts(
        self, output: Output, attempts: Callable[[Callable[[int], dict[str, int]]], int]
    ) -> None:
        """The newest is at 640, and damaged."""
        output.commit(f"checkpoints/{640:012d}", "safetensors", b"", {})
        assert attempts(lambda number: {"resumed_at": 16 * (number - 1), "kept": 16 * number}) == 9


class TestOutage:
    """The driver looks at the store while workers commit; it bridges the outages that they bridge."""

    @pytest.fixture
    def news(self, tiny_run: TinyRun, config: TrainConfig) -> TrainingNews:
        manifest = tiny_run.snapshot.manifest(tiny_run.store)
        output = Output(store=tiny_run.store, plan=Plan(**manifest.plan))
        return TrainingNews(output=output, context=tiny_run.context, config=config, goal=1280)

    def test_a_short_one_is_bridged_and_a_long_one_is_not(
        self, news: TrainingNews, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [0.0]
        news.clock = lambda: now[0]
        before = news.on_poll()

        def away(*_: object) -> None:
            raise StorageError("does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(news, "_look", away)
            for now[0] in (1, 300, 600):
                assert news.on_poll() == before
        assert news.on_poll() == before, "it is back"
        with monkeypatch.context() as patch:
            patch.setattr(news, "_look", away)
            for now[0] in (700, 1299):
                news.on_poll()
            now[0] = 1301
            with pytest.raises(StorageError):
                news.on_poll()


def test_lines_are_said_once(tiny_run: TinyRun, config: TrainConfig) -> None:
    said: list[str] = []
    progress: list[Progress] = []
    context = replace(tiny_run.context, say=said.append, on_progress=progress.append)
    output = Output(store=tiny_run.store, plan=Plan(stage="train", format_version=0, settings={}, inputs={}))
    news = TrainingNews(output=output, context=context, config=config, goal=1280)
    for lines in (["a"], ["a", "b"], ["a", "b"]):
        news.on_beat({"phase": "", "lines": lines, "data_share": 0.2})
    assert said == ["a", "b"]
    assert progress[-1].data_share == 0.2
