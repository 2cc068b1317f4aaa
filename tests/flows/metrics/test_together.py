"""Outputs computed by one pool: each sealed by itself, and only what is missing is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flows.metrics.together import Work, seal_together
from flows.nodes.environment import Environment
from flows.stage import Context
from infra.compute.units import Workers
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

DONE: list[str] = []


@dataclass(frozen=True)
class Writes:
    """Commits a few bytes per unit and remembers the order."""

    output: Output
    fails_at: str = ""

    def open(self) -> Callable[[int], None]:
        def run(number: int) -> None:
            name = f"{self.output.plan.stage}/{number}"
            if name == self.fails_at:
                raise KeyboardInterrupt
            DONE.append(name)
            self.output.commit(f"units/{number:06d}", "bin", name.encode(), {})

        return run


def work(stage: str, count: int, fails_at: str = "") -> Work:
    names = [f"units/{number:06d}" for number in range(count)]

    def seal(output: Output) -> Manifest:
        records = [output.record(name) for name in names]
        return output.seal({}, [{"unit": n, "rows": 1, **one.as_json()} for n, one in enumerate(records) if one], {})

    plan = Plan(stage=stage, format_version=1, settings={}, inputs={})

    def task(output: Output, _: str) -> Writes:
        return Writes(output, fails_at)

    return Work(label=stage, plan=plan, environment=Environment(work="measuring"), names=names, task=task, seal=seal)


@pytest.fixture
def together(make_context: Callable[..., Context]) -> Callable[..., list[Manifest]]:
    DONE.clear()
    context = make_context()
    return lambda *works: seal_together(works, context, stage="evaluate", workers=lambda _: Workers())


def test_each_is_sealed_and_the_second_time_found(together: Callable[..., list[Manifest]]) -> None:
    works = work("a", 2), work("b", 3)
    sealed = together(*works)
    assert [(one.stage, len(one.units)) for one in sealed] == [("a", 2), ("b", 3)]
    assert DONE == ["a/0", "a/1", "b/0", "b/1", "b/2"]
    assert [one.digest for one in together(*works)] == [one.digest for one in sealed]
    assert len(DONE) == 5


def test_what_is_sealed_is_not_done_again_beside_others(together: Callable[..., list[Manifest]]) -> None:
    together(work("b", 3))
    DONE.clear()
    assert [one.stage for one in together(work("a", 2), work("b", 3), work("c", 1))] == ["a", "b", "c"]
    assert DONE == ["a/0", "a/1", "c/0"]


def test_cut_short_it_goes_on(together: Callable[..., list[Manifest]]) -> None:
    with pytest.raises(KeyboardInterrupt):
        together(work("a", 2), work("b", 3, fails_at="b/1"))
    together(work("a", 2), work("b", 3))
    assert sorted(DONE) == ["a/0", "a/1", "b/0", "b/1", "b/2"]


def test_without_missing_outputs_the_cluster_is_left_alone(
    together: Callable[..., list[Manifest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    together(work("a", 1))
    monkeypatch.setattr("flows.stage.Context.run_missing", lambda *_, **__: pytest.fail("asked"))
    together(work("a", 1))


def test_progress_counts_all_units(make_context: Callable[..., Context]) -> None:
    heard: list[Any] = []
    context = make_context(on_progress=heard.append)
    seal_together([work("a", 2), work("b", 1)], context, stage="evaluate", workers=lambda _: Workers())
    assert [(one.done, one.total, one.unit) for one in heard] == [(n, 3, "units") for n in range(4)]


def test_each_is_sealed_and_let_go_as_its_own_last_unit_ends(make_context: Callable[..., Context]) -> None:
    """So that another run that needs the first output does not wait for the second."""
    held: list[str] = []

    @contextmanager
    def lease(folder: str) -> Iterator[None]:
        held.append(folder.partition("/")[0])
        yield
        held.remove(folder.partition("/")[0])

    first, second = work("a", 2), work("b", 2)
    context = make_context(lease=lease)
    seen = []

    def look(_: Any) -> None:
        seen.append((sorted(held), context.output(first.plan).manifest({}) is not None))

    context = replace(context, on_progress=look)
    seal_together([first, second], context, stage="evaluate", workers=lambda _: Workers())
    assert seen == [(["a", "b"], False), (["a", "b"], False), (["b"], True), (["b"], True), ([], True)]


def test_one_that_is_whole_but_not_sealed_is_sealed_first(together: Callable[..., list[Manifest]]) -> None:
    with pytest.raises(KeyboardInterrupt):
        together(work("a", 2), work("b", 1, fails_at="b/0"))
    DONE.clear()
    assert [one.stage for one in together(work("a", 2), work("b", 1))] == ["a", "b"]
    assert DONE == ["b/0"]


def test_leases_are_taken_in_one_order_whatever_the_order_of_the_works(make_context: Callable[..., Context]) -> None:
    """Else two runs that list the same outputs in two orders wait for each other."""
    orders = []
    for works in ((work("a", 1), work("b", 1), work("c", 1)), (work("c", 1), work("b", 1), work("a", 1))):
        taken: list[str] = []

        @contextmanager
        def lease(folder: str, taken: list[str] = taken) -> Iterator[None]:
            taken.append(folder)
            yield

        context = make_context(lease=lease, force=True)
        assert [one.stage for one in seal_together(works, context, stage="evaluate", workers=lambda _: Workers())] == [
            one.plan.stage for one in works
        ]
        orders.append([folder.partition("/")[0] for folder in taken])
    assert orders[0] == orders[1]
