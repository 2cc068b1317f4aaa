"""A run's surroundings."""

from pathlib import Path

import pytest

from flows.config import PipelineConfig, RunSettings
from flows.session import open_session
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


def test_a_ray_client_is_refused(tiny: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:10001")
    with pytest.raises(ConfigError, match="Ray Client"), open_session(tiny, RunSettings(root=str(tmp_path))):
        pass
