"""The points of a comparison differ in one respect only; a damaged run beside this one is left out and named."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from flows.run_record import FinishedRun, RunRecord
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.report import neighbours
from flows.stages.report.neighbours import RESPECTS, Neighbours, read_neighbours
from flows.stages.report.outputs import draw, read_outputs
from flows.stages.report.page import rewrite_report, write_report
from flows.stages.sample.sampling import sample
from tests.conftest import TinyRun, revised

AXES = {respect.name: respect for respect in RESPECTS}


@pytest.fixture
def add(tiny_run: TinyRun) -> Callable[..., FinishedRun]:
    """Finish a further run of the same network, with other settings of sampling and evaluation."""

    def run(name: str, sampling: dict[str, object], evaluation: dict[str, object] | None = None) -> FinishedRun:
        config, context = tiny_run.config, tiny_run.context
        samples = sample(revised(config.sample, sampling), tiny_run.snapshot, context)
        measured = revised(config.evaluate, evaluation or {})
        figures = evaluate(measured, tiny_run.dataset, tiny_run.snapshot, samples, context)
        finished = replace(tiny_run.finished, samples=samples, figures=figures)
        RunRecord(name=name, finished=finished).write(tiny_run.store)
        return finished

    return run


def found(run: TinyRun) -> Neighbours:
    return read_neighbours("my-run", run.store, run.finished)


def test_runs_that_differ_in_the_steps_alone_are_points(tiny_run: TinyRun, add: Callable[..., FinishedRun]) -> None:
    add("all-steps", {"num_steps": 0})
    add("other-seed", {"num_steps": 10, "seed": 1})
    add("other-count", {"num_steps": 10, "count": 16})
    add("other-bound", {"num_steps": 10}, {"bpd_images": 8})
    add("the-same-again", {})
    near = found(tiny_run)
    assert [(run.name, run.num_steps) for run in near.along(AXES["sampler_steps"])] == [
        ("my-run", 5),
        ("all-steps", 20),
    ]
    assert [run.name for run in near.along(AXES["images_seen"])] == ["my-run"]


@pytest.mark.parametrize("respect", AXES)
def test_another_respect_is_a_difference(tiny_run: TinyRun, respect: str) -> None:
    """Two runs that differ in two respects are on no axis together."""
    own = found(tiny_run).own
    for other in AXES:
        changed = replace(own, identity={**own.identity, other: "something else"})
        assert own.differs_only_in(respect, changed) == (other == respect)


def test_the_ema_length_grows_with_the_run_up_to_its_bound(tiny_run: TinyRun) -> None:
    own = found(tiny_run).own
    assert AXES["ema_length"].of(own) == own.ema_images == 0.1 * 1280
    assert own.images_seen == 1280


def test_damaged_runs_are_left_out_and_named(tiny_run: TinyRun, add: Callable[..., FinishedRun]) -> None:
    add("whole", {"num_steps": 0})
    lost = add("lost", {"num_steps": 10})
    tiny_run.store.delete(lost.samples.name)
    for name, content in (("cut-short", b"{"), ("no-record", b"[]"), ("odd", b'{"dataset": {}}')):
        tiny_run.store.replace(f"reports/{name}/run.json", content)
    near = found(tiny_run)
    assert sorted(near.damaged) == ["cut-short", "lost", "no-record", "odd"]
    assert [run.name for run in near.others] == ["whole"]
    write_report("my-run", tiny_run.store, tiny_run.finished, {})
    page = tiny_run.store.read("reports/my-run/report.html").decode()
    assert "Left out, since their records or outputs are damaged: " in page


def test_runs_of_other_data_are_no_neighbours(tiny_run: TinyRun) -> None:
    other = replace(tiny_run.dataset, digest="0" * 64)
    RunRecord(name="other", finished=replace(tiny_run.finished, dataset=other)).write(tiny_run.store)
    assert (found(tiny_run).others, found(tiny_run).damaged) == ([], [])


def test_a_crowd_is_read_in_part_the_most_similar_names_first(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "LIMIT", 2)
    for name in ("a", "my-run-2", "my-other", "z"):
        RunRecord(name=name, finished=tiny_run.finished).write(tiny_run.store)
    near = found(tiny_run)
    assert [run.name for run in near.others] == ["my-run-2", "my-other"]
    assert near.unread == 2


def test_a_new_run_appears_when_the_report_is_written_again(tiny_run: TinyRun, add: Callable[..., FinishedRun]) -> None:
    write_report("my-run", tiny_run.store, tiny_run.finished, {})
    assert not tiny_run.store.exists("reports/my-run/plots/sampler_steps.csv")
    theirs = add("all-steps", {"num_steps": 0})
    rewrite_report("my-run", tiny_run.store)
    rows = tiny_run.store.read("reports/my-run/plots/sampler_steps.csv").decode().splitlines()
    value, other = (one.figures.metrics["eval/fd_pixels"] for one in (tiny_run, theirs))
    assert rows[0].startswith("run,this_run,sampler steps,fd_pixels,fd_pixels standard_error")
    assert "bits" not in rows[0], "the bound does not depend on the samples"
    assert rows[1].startswith(f"my-run,1,5,{value!r},")
    assert rows[2].startswith(f"all-steps,0,20,{other!r},")
    page = tiny_run.store.read("reports/my-run/report.html").decode()
    assert 'alt="figures against sampler steps"' in page
    assert draw(read_outputs(tiny_run.store, tiny_run.finished, "my-run")).compared == ["sampler_steps"]
