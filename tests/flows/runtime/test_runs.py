"""A run is one trial, recipe and data: whatever differs in either is another run, and equal ones do the work once."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.nodes.devices import environment_of
from flows.nodes.environment import environment_here
from flows.root import tracking_place
from flows.run import open_run
from flows.runtime.late_tracking import deliver_late
from flows.stages.table import STAGES
from infra.errors import ConflictError
from infra.outputs.environments import environment_in_words
from infra.tracking.runs import PUBLISHED
from tests.flows.sessions import Page, everything, opened, put_images, run_settings, run_whole, small, tracked_runs


def reports(root: Path) -> dict[str, dict[str, bytes]]:
    """The files of every report, by the run's name."""
    return {
        folder.name: {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in sorted((root / "reports").iterdir())
        if not folder.name.startswith(".")
    }


def test_two_folders_and_a_grown_one_are_three_runs(root: Path, tmp_path: Path) -> None:
    first_folder = put_images(tmp_path / "first" / "images", range(40))
    second_folder = put_images(tmp_path / "second" / "images", range(100, 140))
    first = run_whole(small(first_folder), root)
    (run,) = tracked_runs(root, "pipeline").values()
    before, recorded = reports(root)[first.name], everything(root, run)
    stages = {
        stage: everything(root, tracked_runs(root, stage)[f"{stage} {first.name}"]) for stage in ("train", "evaluate")
    }
    assert recorded["files"]
    assert recorded["params"]["prepare.source"] == str(first_folder)

    second = run_whole(small(second_folder), root)
    put_images(first_folder, range(200, 210))
    grown = run_whole(small(first_folder), root)

    names = {first.name, second.name, grown.name}
    assert len(names) == 3
    assert set(reports(root)) == set(tracked_runs(root, "pipeline")) == names
    assert reports(root)[first.name] == before
    assert everything(root, run) == recorded
    for stage, there in stages.items():
        assert everything(root, tracked_runs(root, stage)[f"{stage} {first.name}"]) == there
    runs = tracked_runs(root, "pipeline")
    assert runs[second.name].data.params["prepare.source"] == str(second_folder)
    assert len({run.data.params["data.key"] for run in runs.values()}) == 3
    assert len({run.data.metrics["eval/fd_pixels"] for run in runs.values()}) == 3
    for name in names:
        page = reports(root)[name]["report.html"].decode()
        assert [other for other in names if other in page] == [name]


def test_a_run_again_is_the_same_run(root: Path, tmp_path: Path) -> None:
    folder = put_images(tmp_path / "images", range(40))
    first = run_whole(small(folder), root)
    before = reports(root)
    (run,) = tracked_runs(root, "train").values()
    points = everything(root, run)["points"]
    again = run_whole(small(folder), root)
    assert again.name == first.name
    assert again.sealed_before == ["prepare", "train", "sample", "evaluate"]
    assert reports(root) == before
    (same,) = tracked_runs(root, "pipeline").values()
    assert same.info.run_name == first.name
    assert everything(root, run)["points"] == points


def test_an_equal_run_waits_and_takes_the_result(root: Path, tmp_path: Path) -> None:
    folder = put_images(tmp_path / "images", range(40))
    config, page, second = small(folder), Page(), []
    with opened(config, run_settings(root)) as first:
        first.to("prepare")
        waiting = threading.Thread(target=lambda: second.append(run_whole(config, root, page)))
        waiting.start()
        try:
            assert page.waits.wait(60)
            (line,) = (line for line in page.lines if "waiting" in line)
            assert line.startswith(f"{first.name} on host ")
            assert not second
            first.to("report")
            assert not second, "it waits to the end"
        except BaseException:
            first.around.stack.close()
            raise
    waiting.join(60)
    assert second[0].name == first.name == page.name
    assert second[0].sealed_before == ["prepare", "train", "sample", "evaluate"]
    assert not page.progress, "nothing was done"
    assert list(tracked_runs(root, "pipeline")) == [first.name]
    (train,) = tracked_runs(root, "train").values()
    assert train.data.tags["ddpm.attempts"] == "1"
    assert [step for step, *_ in everything(root, train)["points"]["train/loss"]] == [64, 128]


def test_a_forced_run_is_the_only_writer_of_its_run_in_mlflow(root: Path, tmp_path: Path) -> None:
    """Neither an equal run nor `ddpm track flush` writes to it meanwhile, and it waits for them."""
    config = small(put_images(tmp_path / "images", range(40)))
    name = run_whole(config, root).name
    (run,) = tracked_runs(root, "pipeline").values()
    MlflowClient(tracking_place(str(root))[0]).set_tag(run.info.run_id, PUBLISHED, "")  # so that something is missing
    forced = run_settings(root, force=True)
    with opened(config, forced) as first:
        first.to("prepare")
        assert [each[:2] for each in deliver_late(first.around.store, STAGES)] == [
            (name, "is at work: its command, or another flush, delivers it")
        ]
        for settings in (run_settings(root, wait=False), run_settings(root, wait=False, force=True)):
            with (
                opened(config, settings) as second,
                pytest.raises(ConflictError, match=r" on host .* is working on this"),
            ):
                second.to("prepare")
    (later,) = deliver_late(first.around.store, STAGES)
    assert "is at work" not in later.line


def test_another_recipe_on_the_same_data_does_not_wait(root: Path, tmp_path: Path) -> None:
    folder, page = put_images(tmp_path / "images", range(40)), Page()
    with opened(small(folder), run_settings(root, tracking=False)) as first:
        first.to("prepare")
        with opened(small(folder, "train.seed=1"), run_settings(root, tracking=False), page=page) as second:
            second.to("train")
        assert not page.waits.is_set()
        assert second.name != first.name


@pytest.mark.parametrize("ends", [True, False])
def test_a_run_that_ended_is_not_waited_for(root: Path, tmp_path: Path, ends: bool) -> None:
    """Both ends of a run, the good and the bad."""
    folder, page = put_images(tmp_path / "images", range(40)), Page()
    if ends:
        run_whole(small(folder), root, tracking=False)
    else:
        with suppress(KeyboardInterrupt), opened(small(folder), run_settings(root, tracking=False)) as first:
            first.to("prepare")
            raise KeyboardInterrupt
    run_whole(small(folder), root, page, tracking=False)
    assert not page.waits.is_set()
    assert not list((root / ".leases").rglob("*.json"))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Moves training to another machine."""

    def move() -> None:
        monkeypatch.setattr(
            "flows.stages.train.training.environment_of",
            lambda work, config, more: environment_of(work, config, {**more, "device": "another GPU"}),
        )

    return move


def test_a_run_that_goes_on_in_another_environment_says_so_everywhere(
    root: Path, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    folder, page = put_images(tmp_path / "images", range(40)), Page()
    with opened(small(folder, "train.images=64"), run_settings(root, tracking=False)) as first:
        first.to("train")
    elsewhere()
    second = run_whole(small(folder), root, page, tracking=False)
    (line,) = (line for line in page.lines if "another environment" in line)
    here = environment_here("training")["device"]
    assert line.startswith(f"train: goes on in another environment (device: {here} there, another GPU here); ")

    html = (root / "reports" / second.name / "report.html").read_text()
    assert "after 64 images: device another GPU, dtype float32, python " in html
    assert html.count("Several environments computed this output") == 1
    run = open_run(second.name, root)
    provenance = run.provenance()["bits_per_dim_fixed_large"]
    assert [environment["device"] for environment in provenance.environments["train"]] == [here, "another GPU"]
    assert environment_in_words(run.manifests["train"])["device"] == f"{here} then another GPU"
    assert environment_in_words(run.manifests["sample"])["device"] == here


def test_with_a_strict_environment_it_is_refused_and_nothing_is_lost(
    root: Path, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    folder = put_images(tmp_path / "images", range(40))
    with opened(small(folder, "train.images=64"), run_settings(root, tracking=False)) as first:
        first.to("train")
    elsewhere()
    settings = run_settings(root, tracking=False, strict_environment=True)
    with opened(small(folder), settings) as second, pytest.raises(ConflictError) as caught:
        second.to("train")
    ways = "drop --strict-environment, finish it there, or run with --force"
    assert ways in caught.value.remedy
    assert not list(root.glob("train/*/environments/*"))
    assert run_whole(small(folder), root, tracking=False).done("train") == 64, "of 128"


def test_without_waiting_a_run_that_another_works_on_is_refused_at_once(root: Path, tmp_path: Path) -> None:
    folder, page = put_images(tmp_path / "images", range(40)), Page()
    with opened(small(folder), run_settings(root, tracking=False)) as first:
        first.to("prepare")
        settings = run_settings(root, tracking=False, wait=False)
        with opened(small(folder), settings, page) as second, pytest.raises(ConflictError) as caught:
            second.to("train")
    assert caught.value.exit_code == 5
    assert caught.value.cause.startswith(f"{first.name} on host ")
    assert "drop --no-wait" in caught.value.remedy
    assert not page.waits.is_set()
