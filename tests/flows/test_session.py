"""A run's surroundings."""

from functools import partial
from pathlib import Path

import pytest

from flows.config import PipelineConfig
from flows.run_settings import RunSettings
from flows.session import open_cluster, open_session, warm_up
from infra.errors import ConfigError


def test_the_stages_run_and_the_table_is_printed(
    tiny: PipelineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = RunSettings(name="x", root=str(tmp_path), mode="in-process", tracking=False)
    told: list[tuple[str, float]] = []
    with open_session(tiny, settings, publish=lambda stage, percent: told.append((stage, percent))) as session:
        dataset = session.prepare()
        checkpoint = session.train(dataset)
        samples = session.sample(checkpoint)
        report = session.evaluate(dataset, checkpoint, samples)
        session.finish(dataset, checkpoint, samples, report)
    out = capsys.readouterr().out
    assert "fd_pixels" in out
    assert "tracking is off" in out
    assert {stage for stage, percent in told if percent == 100} == {"prepare", "train", "sample", "evaluate"}
    assert list(tmp_path.glob("reports/x-*/report.html"))


@pytest.mark.parametrize(("force", "starts"), [(False, [True, False]), (True, [True, True])])
def test_ray_is_started_early_only_for_a_run_without_its_report(
    tiny: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool, starts: list[bool]
) -> None:
    settings = RunSettings(name="x", root=str(tmp_path), mode="in-process", tracking=False, force=force)
    started = []
    for _ in range(2):
        connected: list[bool] = []
        cluster = open_cluster(tiny, settings)
        monkeypatch.setattr(cluster, "connect", partial(connected.append, True))
        warm_up(tiny, settings, cluster)
        started.append(bool(connected))
        with open_session(tiny, settings) as session:
            dataset = session.prepare()
            checkpoint = session.train(dataset)
            samples = session.sample(checkpoint)
            session.finish(dataset, checkpoint, samples, session.evaluate(dataset, checkpoint, samples))
    assert started == starts


def test_a_local_ray_has_room_for_every_stage(tiny: PipelineConfig) -> None:
    wide = tiny.model_copy(update={"train": tiny.train.model_copy(update={"workers": 16, "threads": 4})})
    assert open_cluster(wide, RunSettings()).cpus == 64


def test_a_ray_client_is_refused(tiny: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:10001")
    with pytest.raises(ConfigError, match="Ray Client"), open_session(tiny, RunSettings(root=str(tmp_path))):
        pass
