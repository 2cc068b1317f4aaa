"""A run's surroundings."""

import re
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from flows.recipe.config import PipelineConfig
from flows.recipe.run import open_run_cluster, prefetch
from flows.recipe.settings import load_config
from flows.run import open_run
from flows.runtime.progress import StageProgress
from flows.runtime.settings import RunSettings
from flows.stage import Progress
from infra.compute.cluster import Cluster
from infra.errors import ConfigError
from tests.flows.sessions import Page, opened, run_settings, run_whole, tracked_runs
from tests.tiny import TINY

STAGES = ("prepare", "train", "sample", "evaluate")


def test_the_stages_run_and_the_table_is_printed(
    tiny: PipelineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Page()
    session = run_whole(tiny, tmp_path, page, name="x", tracking=False)
    out = capsys.readouterr().out
    assert "fd_pixels" in out
    assert "tracking is off" in out
    assert {stage for stage, percent, _ in page.progress if percent == 100} == set(STAGES)
    (report,) = tmp_path.glob("reports/*/report.html")
    assert report.parent.name == session.name
    assert re.fullmatch(r"x-[0-9a-f]{8}", session.name)
    assert f"      run {session.name}\n" in out
    assert f"report    {report}\n" in out


def test_the_page_has_what_the_terminal_has(
    tiny: PipelineConfig, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "dashboard", "http://user:canary@ray.example:8265")
    page = Page()
    session = run_whole(tiny, root, page)
    assert page.name == session.name
    assert list(page.pages) == ["links", "result"]
    assert page.pages["links"] == "* Ray: <http://ray.example:8265>"
    markdown = page.pages["result"]
    assert "* Ray: <http://ray.example:8265>" in markdown
    assert markdown.startswith(f"## {session.name}\n")
    assert f"`{root}/reports/{session.name}/report.html`" in markdown
    assert "workflowType=machine_learning" in markdown
    assert "![samples](data:image/png;base64," in markdown
    shown = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    logged = {" ".join(line.split()) for line in page.lines}
    for stage in STAGES:
        (line,) = (line for line in logged if line.startswith(f"{stage}: "))
        assert line.replace(":", "", 1) in shown
        assert re.search(r"; sealed after \d+ s, [\d,.]+ [a-z]+/s; digest ", line)
        assert any(line.startswith(f"{stage} ") and "/s of this attempt" in line for line in logged & shown)
    lines = {line for line in logged if line.startswith(("run ", "report ", "samples ", "MLflow "))}
    assert lines <= shown
    (figure,) = (line for line in logged if line.startswith("fd_pixels "))
    assert figure[:50] in {line[:50] for line in shown}, "the terminal breaks long lines"
    html = (root / "reports" / session.name / "report.html").read_text()
    assert f'<a href="{page.page}">Prefect</a>' in html
    (run,) = tracked_runs(root, "pipeline").values()
    assert run.data.tags["ddpm.prefect"] == page.page
    assert run.data.tags["ddpm.ray"] == "http://ray.example:8265"
    assert {"system/system_memory_usage_megabytes", "system/cpu_utilization_percentage"} <= {*run.data.metrics}
    note = run.data.tags["mlflow.note.content"]
    assert f"* Prefect: <{page.page}>" in note
    assert f"* report: `{root}/reports/{session.name}/report.html`" in note
    assert run.data.tags["ddpm.report"] == f"{root}/reports/{session.name}/report.html"
    assert run.data.tags["ddpm.root"] == f"{root} {(root / '.root').read_text()}"
    assert run.data.tags["ddpm.lease"].split("/")[::2] == [".leases", "lease"]
    check_costs(session.name, root, page, html)


def check_costs(name: str, root: Path, page: Page, html: str) -> None:
    """The table on the page, the report, MLflow and Python agree on what the run has cost."""
    (run,) = tracked_runs(root, "pipeline").values()
    (cost,) = page.tables.values()
    assert [row["stage"] for row in cost] == list(STAGES)
    assert [row["work"] for row in cost[:3]] == ["1,797 images", "1,280 images", "24 images"]
    assert all(row["attempts"] == "1" and row["wall time"] and row["CPU h"] for row in cost)
    assert html.count("<h2>Cost</h2>") == 1
    assert all(f">{row['wall time']}<" in html for row in cost)
    assert run.data.metrics["cost/train/images_per_second"] == pytest.approx(
        1280 / run.data.metrics["cost/train/wall_s"]
    )
    (trained,) = tracked_runs(root, "train").values()
    assert trained.data.metrics["cost/train/wall_s"] == run.data.metrics["cost/train/wall_s"]
    assert open_run(name, root).costs["sample"].amount == 24


def test_rates_are_those_of_this_attempt(
    tiny: PipelineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shorter = load_config("digits", None, [*TINY, "train.images=640"])
    with opened(shorter, run_settings(tmp_path, tracking=False)) as session:
        session.to("train")
        assert session.done("train") == 640
    resumed = run_whole(tiny, tmp_path, tracking=False)
    assert resumed.done("train") == 640, "of 1,280"
    assert resumed.sealed_before == ["prepare"]
    assert resumed.done("sample") == 24
    costs = open_run(resumed.name, tmp_path).costs
    assert (costs["train"].attempts, costs["train"].amount) == (2, 1280), "and the cost is that of both attempts"
    assert costs["prepare"].attempts == 1
    out = capsys.readouterr().out
    (seconds,) = re.findall(r"train 1,280 images seen; sealed after (\d+) s, ", out)
    (rate,) = re.findall(r"^train +([\d,.]+) +images/s of this attempt, including start-up", out, re.MULTILINE)
    assert 640 / (float(seconds) + 0.5) <= float(rate.replace(",", "")) <= 640 / max(float(seconds) - 0.5, 1e-9)
    assert re.search(r"^prepare +sealed before *$", out, re.MULTILINE)
    assert "resumed at 640 of 1,280 images" in out


class Interrupting(StageProgress):
    """Ends the training as soon as 640 images are kept."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(Console(), None)
        self._error = error

    def __call__(self, stage: str, progress: Progress) -> None:
        super().__call__(stage, progress)
        if stage == "train" and progress.kept >= 640:
            raise self._error


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED"), (RuntimeError("a fault"), "FAILED")],
)
def test_an_attempt_that_ends_says_what_is_kept_and_how_it_ended(
    tiny: PipelineConfig, root: Path, error: BaseException, status: str
) -> None:
    endless = tiny.model_copy(update={"train": tiny.train.model_copy(update={"images": 1 << 30})})
    with opened(endless, run_settings(root)) as session:
        session.to("prepare")
        session.around.progress = Interrupting(error)
        with pytest.raises(type(error)) as caught:
            session.to("train")
    (checkpoint, *_) = sorted(root.glob("train/*/checkpoints/*.json"), reverse=True)
    assert caught.value.__notes__ == [f"train keeps {int(checkpoint.stem):,} of 1,073,741,824 images"]
    for stage, expected in (("pipeline", status), ("train", status), ("prepare", "FINISHED")):
        (run,) = tracked_runs(root, stage).values()
        assert run.info.status == expected, stage
    assert not list((root / ".leases").rglob("*.json")), "nobody waits for it"


@pytest.mark.parametrize(("force", "starts"), [(False, [True, False]), (True, [True, True])])
def test_ray_is_started_early_only_for_a_run_without_its_report(
    tiny: PipelineConfig, sealed_root: Path, monkeypatch: pytest.MonkeyPatch, force: bool, starts: list[bool]
) -> None:
    settings = RunSettings(name="x", root=str(sealed_root), mode="in-process", tracking=False, force=force)
    started = []
    for _ in range(2):
        connected: list[bool] = []
        cluster = open_run_cluster(tiny, settings)
        monkeypatch.setattr(cluster, "connect", partial(connected.append, True))
        prefetch(tiny, settings, cluster)
        started.append(bool(connected))
        run_whole(tiny, sealed_root, name="x", tracking=False)  # the report is all that is missing
    assert started == starts


def test_a_local_ray_has_room_for_every_stage(tiny: PipelineConfig) -> None:
    wide = tiny.model_copy(update={"train": tiny.train.model_copy(update={"workers": 16, "threads": 4})})
    assert open_run_cluster(wide, RunSettings()).cpus == 64


def test_a_ray_client_is_refused(tiny: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:10001")
    with pytest.raises(ConfigError, match="Ray Client"), opened(tiny, RunSettings(root=str(tmp_path))):
        pass
