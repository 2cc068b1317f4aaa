"""A context finds what is sealed, begins what is not, and runs the missing units in order, reporting what is done."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from flows.nodes.environment import Environment
from flows.nodes.survey import Survey
from flows.stage import Context, Progress
from infra.compute.cluster import Cluster
from infra.compute.units import Workers
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

PLAN = Plan(stage="bake", format_version=1, settings={}, inputs={})


class Baking:
    """A task that notes its units."""

    def __init__(self) -> None:
        self.ran: list[int] = []

    def open(self) -> Callable[[int], None]:
        return self.ran.append


def seal(output: Output, _: Survey) -> Manifest:
    return output.seal({"loaves": 1}, [], {})


def driver() -> Environment:
    return Environment(work="copying")


def test_by_default_nobody_listens(make_context: Callable[..., Context]) -> None:
    context = make_context()
    context.on_progress(Progress(done=1, total=2))
    context.on_history([{"loss": 1.0}])
    context.on_data("0123")
    with context.lease("train/0123"):
        pass


def test_what_is_sealed_is_found_and_made_again_only_by_force(make_context: Callable[..., Context]) -> None:
    context = make_context()
    made, reused = context.sealed(PLAN, {"loaves": 1}, driver, seal)
    assert not reused
    never = partial(pytest.fail, "it is sealed")
    assert context.sealed(PLAN, {"loaves": 1}, never, lambda *_: never()) == (made, True)
    anew, reused = replace(context, force=True).sealed(PLAN, {"loaves": 1}, driver, seal)
    assert not reused
    assert anew.name != made.name


def test_a_forced_run_that_is_tried_again_goes_on_with_its_own_attempt(make_context: Callable[..., Context]) -> None:
    context = make_context()
    context.sealed(PLAN, {"loaves": 1}, driver, seal)
    forced = replace(context, force=True, begun=set())
    output = forced.output(PLAN)
    assert output.attempt == 1
    forced.begin(output, driver())
    assert forced.output(PLAN) == output


def test_the_missing_units_are_run_and_counted(make_context: Callable[..., Context]) -> None:
    seen: list[Progress] = []
    context, task = make_context(on_progress=seen.append), Baking()
    context.run_missing(
        task,
        range(4),
        stage="bake",
        workers=Workers(),
        is_done=lambda unit: unit == 1,
        size=lambda unit: 10 + unit,
        unit="loaves",
    )
    assert task.ran == [0, 2, 3]
    assert [progress.done for progress in seen] == [11, 21, 33, 46]
    assert {(one.start, one.total, one.unit) for one in seen} == {(11, 46, "loaves")}
    assert all(one.kept == one.done for one in seen)


@pytest.mark.parametrize(("mode", "phase"), [("ray", "starting Ray"), ("in-process", "starting")])
def test_what_starts(make_context: Callable[..., Context], mode: str, phase: str) -> None:
    assert replace(make_context(), cluster=Cluster(mode=mode)).starting == phase
