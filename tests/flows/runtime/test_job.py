"""A run whose stages are jobs: what it asks for, what it takes back, and what becomes of failures."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.recipe.config import PipelineConfig
from flows.runtime import job as module
from flows.runtime.code import own_code
from flows.runtime.job import with_absolute_paths
from flows.runtime.runner import run_stage
from flows.stage import Progress
from flows.stages.evaluate.config import EvaluateConfig
from flows.stages.evaluate.stage import EVALUATE
from flows.stages.train.stage import TRAIN
from infra.compute.job import Followers, Job
from infra.compute.jobs import JobEnd
from infra.compute.probe import probe
from infra.errors import ConfigError, InputError, IntegrityError, Interrupted, StorageError
from infra.storage.local_store import LocalStore
from tests.conftest import revised
from tests.e2e.processes import digests
from tests.flows.runtime.jobs_here import JobsHere
from tests.flows.sessions import Page, everything, opened, put_images, run_settings, run_whole, small, tracked_runs
from tests.pictures import encoded, picture

AS_JOBS = {"mode": "ray", "execution": "job", "ray_jobs": JobsHere.address}
STAGES = ("prepare", "train", "sample", "evaluate")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsHere]:
    jobs = JobsHere()
    monkeypatch.setattr(
        "flows.runtime.surroundings.open_jobs", lambda settings, _: jobs if settings.execution == "job" else None
    )
    return jobs


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return small(put_images(tmp_path / "images", range(40)))


def test_stages_as_jobs_give_what_stages_in_this_process_give(
    here: JobsHere, config: PipelineConfig, root: Path, tmp_path: Path
) -> None:
    roots = root, shutil.copytree(root, tmp_path / "jobs")  # with an MLflow that opens at once
    straight = run_whole(config, roots[0])
    page = Page()
    jobs = run_whole(config, roots[1], page, **AS_JOBS)
    assert jobs.name == straight.name
    assert digests(roots[1]) == digests(roots[0])
    assert here.titles == [f"ddpm-{stage}" for stage in STAGES]
    assert [line for line in page.lines if "started as job" in line] == [
        f"{id_.split('-')[1]} started as job {id_}" for id_ in here.commands
    ]
    assert {stage for stage, *_ in page.progress} == {*STAGES}, "jobs' progress is on the run's page"
    assert sum("digest" in line for line in page.lines) == len(STAGES), "said once, by the run"
    assert not [line for line in page.lines if line.startswith("run ") and jobs.name not in line]
    for stage in STAGES:
        (one,), (other,) = (tracked_runs(root, stage).values() for root in roots)
        mine, theirs = everything(roots[1], other), everything(roots[0], one)
        assert mine["points"].keys() == theirs["points"].keys(), stage
        assert mine["params"] == theirs["params"]
        assert mine["info"][0] == "FINISHED"
    assert {record.outcome for record in _attempts(roots[1])} == {"sealed"}
    started = len(here.commands)
    again = run_whole(config, roots[1], **AS_JOBS)
    assert len(here.commands) == started, "everything is sealed, so nobody is asked"
    assert again.sealed_before == [*STAGES]


def _attempts(root: Path) -> list[Any]:
    from infra.outputs.costs import all_attempts
    from infra.storage.open import open_store

    found = [all_attempts(stage, open_store(str(root))).attempts for stage in STAGES]
    assert [len(attempts) for attempts in found] == [1, 1, 1, 1], "the driver records no attempt of its own"
    return [attempt for attempts in found for attempt in attempts]


def test_what_ends_a_run_early_is_a_job_before_training(here: JobsHere, tmp_path: Path) -> None:
    """The classifier is fitted on the cluster, and the run ends there if it learns nothing."""
    source = put_images(tmp_path / "images" / "one", range(40))
    put_images(tmp_path / "images" / "two", range(40, 80))
    config = small(source.parent, "evaluate.extractor=classifier", 'evaluate.metrics=["fd"]')
    with (
        opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk,
        pytest.raises(ConfigError, match="near the"),
    ):
        walk.to("train")
    assert here.titles == ["ddpm-prepare", "ddpm-settle-evaluate"]


def test_a_failure_of_a_job_is_its_runs(here: JobsHere, config: PipelineConfig, tmp_path: Path) -> None:
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk, pytest.raises(InputError) as refused:
        walk.to("train")
    assert here.titles == ["ddpm-prepare"]
    assert (refused.value.stage, "broken.png" in str(refused.value)) == ("prepare", True)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("change", "line"), [("dtype=float16", "float16 is for GPUs"), ("device=cuda", "cuda was asked")]
)
def test_a_cluster_without_gpus_is_found_out_before_the_preparation(
    here: JobsHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, line: str
) -> None:
    """The first job checks what later ones need, as nobody else sees the nodes."""
    monkeypatch.setattr("infra.compute.nodes._torch_probe", lambda: lambda: replace(probe(gpus=False), gpus=()))
    config = small(put_images(tmp_path / "images", range(40)), f"sample.{change}")
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk, pytest.raises(ConfigError) as refused:
        walk.to("prepare")
    assert here.titles == ["ddpm-prepare"]
    assert refused.value.stage == "sample"
    assert line in str(refused.value)
    assert not list((tmp_path / "root").glob("prepare/*"))


def test_a_job_that_read_other_images_gives_this_run_nothing(
    here: JobsHere, config: PipelineConfig, tmp_path: Path
) -> None:
    """They changed between the run's look and the job's, or lie in another folder of the same name there."""
    here.before = lambda _id: (tmp_path / "images" / "late.png").write_bytes(encoded(picture(99)))
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk, pytest.raises(IntegrityError) as refused:
        walk.to("train")
    assert "was made of other files than this run reads" in str(refused.value)
    assert here.titles == ["ddpm-prepare"]


def test_another_file_from_outside_or_another_server_is_another_job(here: JobsHere, tmp_path: Path) -> None:
    def key(reference: str, jobs: object = here) -> str:
        config = EvaluateConfig(reference_statistics=str(tmp_path / reference))
        around: Any = SimpleNamespace(
            store=LocalStore(tmp_path), jobs=jobs, given={}, settings=SimpleNamespace(force=False)
        )
        return module._key(module.Errand(stage=EVALUATE, config=config, inputs=[]), "", around)

    assert key("a.npz") == key("a.npz")
    assert len({key("a.npz"), key("b.npz"), key("a.npz", SimpleNamespace(address="http://other:8265"))}) == 3


def test_other_code_on_the_cluster_is_refused_before_any_work(
    here: JobsHere, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "own_code", lambda: replace(own_code(), release="9.9.9"))
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk, pytest.raises(ConfigError) as refused:
        walk.to("prepare")
    line = f"has other code than this run (ddpm-flows {own_code().release}, here 9.9.9) - install one release"
    assert line in str(refused.value)
    assert not (tmp_path / "root" / "prepare").exists()


def handed(here: JobsHere, id_: str) -> module.Handover:
    spec = here.spec(id_)
    return module.Handover(store=LocalStore(spec.parents[3]), job=id_, submission=spec.parent.name)


def test_a_run_that_starts_its_job_second_disturbs_nothing_of_the_first(
    here: JobsHere, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two equal runs ask for one job in the same second; the first one's has ended before the other's request."""
    at_work, root = here.at_work, tmp_path / "root"

    @contextlib.contextmanager
    def second_at_work(name: str, command: Callable[[Job], Sequence[str]], followers: Followers) -> Iterator[Job]:
        with at_work(name, command, followers) as first:
            follow = here.follow(first, on_line=lambda _: None, on_poll=lambda: None)
            command(Job(id=first.id, submission="5ec0d", is_new=True))
            monkeypatch.setattr(here, "follow", lambda *_, **__: follow)
            yield replace(first, is_new=False)

    monkeypatch.setattr(here, "at_work", second_at_work)
    with opened(config, run_settings(root, **AS_JOBS)) as walk:
        walk.to("prepare")
    (id_,) = here.commands
    assert [path.name for path in (root / ".jobs" / id_).iterdir()] == [here.spec(id_).parent.name], "the other's went"


def test_a_stopped_job_keeps_what_it_reported(
    here: JobsHere, config: PipelineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(id_: str) -> None:
        if id_.startswith("ddpm-train"):
            handover = handed(here, id_)
            handover.put_progress(Progress(done=90, total=128, kept=64))
            handover.flush()
            raise Interrupted(143)

    here.before = stop
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk, pytest.raises(Interrupted) as stopped:
        walk.to("train")
    assert stopped.value.__notes__ == ["train keeps 64 of 128 images"]
    assert "train stopped at 90 of 128 images; 64 are kept" in capsys.readouterr().out


def test_a_retry_of_a_forced_run_goes_on_from_its_own_first_try(
    here: JobsHere, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, faults = module.Handover.put_progress, [StorageError("is away")]

    def put_and_fail_once(handover: module.Handover, progress: Progress) -> None:
        put(handover, progress)
        if faults and progress.kept >= 64 and handover.job.startswith("ddpm-train"):
            raise faults.pop()

    monkeypatch.setattr(module.Handover, "put_progress", put_and_fail_once)
    root = tmp_path / "root"
    with opened(config, run_settings(root, force=True, **AS_JOBS)) as walk:
        dataset = walk.to("prepare")

        def train() -> Any:
            return run_stage(TRAIN, walk.around.settings, config.train, dataset)

        with pytest.raises(StorageError):
            train()
        train()
    assert here.titles == ["ddpm-prepare", "ddpm-train", "ddpm-train"]
    assert len(list((root / "train").iterdir())) == 1, "no other attempt beside the first"


def stopped(here: JobsHere, monkeypatch: pytest.MonkeyPatch, *, by_run: bool) -> None:
    """Let the first job of the preparation be stopped, by another run or by somebody else."""
    follow = here.follow

    def follow_or_stop(job: Job, **listeners: Any) -> JobEnd:
        if list(here.commands) != [job.id]:
            return follow(job, **listeners)
        if by_run:
            handed(here, job.id).note_stop()
        return JobEnd(state="stopped", code=None, message="")

    monkeypatch.setattr(here, "follow", follow_or_stop)


def test_a_job_that_another_interrupted_run_stopped_is_followed_by_the_next(
    here: JobsHere, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(here, monkeypatch, by_run=True)
    page = Page()
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS), page) as walk:
        walk.to("prepare")
    first, second = here.commands
    assert (first[-2:], second[-2:]) == ("-1", "-2")
    assert f"the job {first} was stopped by another run, which was interrupted; going on with another job" in page.lines


def test_a_job_that_somebody_stopped_on_the_cluster_ends_the_run(
    here: JobsHere, config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(here, monkeypatch, by_run=False)
    with opened(config, run_settings(tmp_path / "root", **AS_JOBS)) as walk, pytest.raises(Interrupted):
        walk.to("prepare")
    assert len(here.commands) == 1


def job_of(here: JobsHere, config: PipelineConfig, root: Path, **more: Any) -> str:
    """The name of the job that trains; it does not run."""

    def stop(id_: str) -> None:
        if id_.startswith("ddpm-train"):
            raise Interrupted(143)

    here.before = stop
    here.commands.clear()
    with opened(config, run_settings(root, **AS_JOBS | more)) as walk, pytest.raises(Interrupted):
        walk.to("train")
    return list(here.commands)[-1]


def test_the_name_of_a_job_says_what_it_computes(here: JobsHere, config: PipelineConfig, tmp_path: Path) -> None:
    """A later run finds it by that name, whoever started it and with however many workers."""
    name, root = job_of(here, config, tmp_path / "root"), tmp_path / "root"
    spec = json.loads(here.spec(name).read_text())
    assert (spec["run"]["tracking"], spec["run"]["execution"], spec["run"]["root"]) == (False, "here", str(root))

    def named(**values: object) -> str:
        return job_of(here, config.model_copy(update={"train": revised(config.train, values)}), root)

    assert named(workers=2) == name
    assert len({name, named(seed=1), named(images=256), job_of(here, config, tmp_path / "other")}) == 4
    assert job_of(here, config, root, force=True) != name


def test_a_jobs_paths_are_absolute(config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare = revised(config.prepare, {"source": ["images", "s3://bucket/a/", "/b/*.png"]})
    assert with_absolute_paths(prepare)["source"] == [f"{tmp_path}/images", "s3://bucket/a/", "/b/*.png"]
    assert with_absolute_paths(config.evaluate)["extractor_weights"] == ""
    evaluate = config.evaluate.model_copy(update={"reference_statistics": "a.npz"})
    assert with_absolute_paths(evaluate)["reference_statistics"] == f"{tmp_path}/a.npz"
