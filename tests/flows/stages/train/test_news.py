"""The driver's news about a training: the store's outages are bridged, lines are said once."""

from dataclasses import replace

import pytest

from flows.stage import Progress
from flows.stages.train.config import TrainConfig
from flows.stages.train.news import TrainingNews
from infra.errors import StorageError
from infra.outputs.plan import Output, Plan
from tests.conftest import TinyRun


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
