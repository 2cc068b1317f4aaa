"""A sweep ends as the worst of its runs."""

import pytest

from flows.recipe.presets.table import preset
from flows.sweep.outcome import State, SweepRun, check_outcome
from flows.sweep.plan import PlannedRun
from infra.errors import DdpmError, DivergedError, IntegrityError, Interrupted, ResourceError


def ended(name: str, code: int) -> SweepRun:
    planned = PlannedRun(combination=0, seeds={}, config=preset("digits"))
    run = SweepRun(planned=planned, key=name, name=name)
    run.end(code, f"why {name}")
    return run


def test_all_well() -> None:
    runs = [ended("a", 0), SweepRun(planned=ended("b", 0).planned, key="b", name="b")]
    check_outcome(runs, "")
    assert [run.is_finished for run in runs] == [True, False]


@pytest.mark.parametrize(
    ("codes", "kind", "code"),
    [
        ([0, 8], DivergedError, 8),
        ([8, 6, 4], IntegrityError, 6),
        ([8, 1, 6], DdpmError, 1),
        ([143, 8], DivergedError, 8),
        ([8, -9], ResourceError, 7),
    ],
)
def test_the_worst_names_the_error(codes: list[int], kind: type[DdpmError], code: int) -> None:
    runs = [ended(str(number), each) for number, each in enumerate(codes)]
    with pytest.raises(kind) as error:
        check_outcome(runs, "again")
    assert type(error.value) is kind
    assert error.value.exit_code == code
    failed = sum(bool(each) for each in codes)
    assert str(error.value).startswith(f"sweep: {failed} of {len(codes)} runs did not finish; the worst is ")
    assert str(error.value).endswith(" - again")


def test_runs_that_were_stopped_stop_the_sweep() -> None:
    runs = [ended("a", 0), ended("b", 143)]
    assert runs[1].state is State.STOPPED
    with pytest.raises(Interrupted) as stop:
        check_outcome(runs, "")
    assert stop.value.code == 143
    assert stop.value.__notes__ == ["1 of 2 runs were stopped"]


def test_the_state_in_words() -> None:
    assert ended("a", 0).state_text == "finished"
    assert ended("a", 8).state_text == "failed (exit 8: why a)"
    assert ended("a", -9).state_text == "failed (exit 137: why a)"
