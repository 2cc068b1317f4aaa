"""The driver's news about a training: outages of the store are bridged, losses counted, lines said once."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from ray.exceptions import WorkerCrashedError
from ray.train import WorkerGroupError

import infra.outputs.manifest as manifest_module
from flows.points import PointFigures, read_points
from flows.stage import Progress
from flows.stages.train.config import TrainConfig
from flows.stages.train.news import TrainingNews, said_once
from flows.stages.train.sealing import point_images
from flows.stages.train.watch.measurement import Measured
from flows.stages.train.watch.records import commit_measured
from infra.compute.group import fit_group
from infra.compute.heartbeat import LocalHeartbeat, Watch
from infra.compute.units import ATTEMPTS_PER_UNIT, Workers
from infra.digests import canonical_json
from infra.errors import StorageError
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun


@pytest.fixture
def output(tiny_run: TinyRun) -> Output:
    """One that is begun and holds nothing."""
    output = Output(store=tiny_run.store, plan=Plan(stage="train", format_version=0, settings={}, inputs={}))
    output.begin({})
    return output


class TestPoints:
    """Points are sealed as goals of their own; what is sealed never changes."""

    @pytest.fixture
    def make(self, tiny_run: TinyRun, config: TrainConfig, output: Output) -> Callable[..., TrainingNews]:
        def call(watch_share: float = 0.05) -> TrainingNews:
            changed = config.model_copy(update={"watch_share": watch_share})
            return TrainingNews(output=output, context=tiny_run.context, config=changed, goal=1280)

        return call

    def point(self, output: Output, images_seen: int) -> None:
        output.commit(f"points/{images_seen:012d}", "safetensors", b"weights at %d" % images_seen, {})

    def measure(self, output: Output, images_seen: int) -> None:
        figures = PointFigures(split="test", images=2, loss=0.5)
        commit_measured(output, images_seen, Measured(figures=figures, tensors={"losses": torch.zeros(2, 2)}))

    def with_figures(self, output: Output) -> dict[int, bool]:
        """For each sealed point, whether its manifest holds its own figures."""
        found = {}
        for images_seen in point_images(output):
            manifest = output.manifest({"images": images_seen})
            if manifest is not None:
                (point,) = (one for one in read_points(manifest.facts) if one.images_seen == images_seen)
                found[images_seen] = point.figures is not None
        return found

    def test_one_waits_for_its_figures(self, output: Output, make: Callable[..., TrainingNews]) -> None:
        news = make()
        self.point(output, 320)
        news.seal_points()
        assert self.with_figures(output) == {}
        self.measure(output, 320)
        news.seal_points()
        assert self.with_figures(output) == {320: True}

    def test_but_not_longer_than_to_the_next_or_the_end(
        self, output: Output, make: Callable[..., TrainingNews]
    ) -> None:
        """A point of a longer run is not the next, and not this run's to seal."""
        news = make()
        for images_seen in (320, 2560):
            self.point(output, images_seen)
        news.seal_points()
        assert self.with_figures(output) == {}
        self.point(output, 640)
        news.seal_points()
        assert self.with_figures(output) == {320: False}
        news.finish()
        assert self.with_figures(output) == {320: False, 640: False}

    def test_without_watching_none_waits(self, output: Output, make: Callable[..., TrainingNews]) -> None:
        self.point(output, 320)
        make(watch_share=0.0).seal_points()
        assert self.with_figures(output) == {320: False}

    def test_a_later_start_reads_none_that_is_sealed(
        self, output: Output, make: Callable[..., TrainingNews], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for images_seen in (320, 640, 960):
            self.point(output, images_seen)
        make().finish()
        self.point(output, 1120)
        read: list[str] = []
        honest = manifest_module.read_part
        monkeypatch.setattr(manifest_module, "read_part", lambda *of: (read.append(of[2]["file"]), honest(*of))[1])
        make().finish()
        assert [name.split("/")[-1].split(".")[0] for name in read] == [f"{1120:012d}"]


class TestLosses:
    """A worker is lost in every attempt; `fit_group` asks the news whether the attempt was worth it."""

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
    context = replace(tiny_run.context, say=said_once(said.append), on_progress=progress.append)
    output = Output(store=tiny_run.store, plan=Plan(stage="train", format_version=0, settings={}, inputs={}))
    news = TrainingNews(output=output, context=context, config=config, goal=1280)
    for lines in (["a"], ["a", "b"], ["a", "b"]):
        news.on_beat({"phase": "", "lines": lines, "data_share": 0.2, "data_wait_s": 1.5})
    assert said == ["a", "b"]
    assert (progress[-1].data_share, progress[-1].data_wait_s) == (0.2, 1.5)
