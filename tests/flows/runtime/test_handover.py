"""The files by which a run and its job speak."""

from pathlib import Path

import pytest

from flows.runtime.handover import Handover
from flows.stage import Progress
from infra.errors import DivergedError, StorageError, Term
from infra.storage.local_store import LocalStore


@pytest.fixture
def handover(tmp_path: Path) -> Handover:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.5
        return now[0]

    return Handover(store=LocalStore(tmp_path), job="ddpm-train-1a-1", submission="0a", clock=clock)


def other_side(handover: Handover) -> Handover:
    return Handover(store=handover.store, job=handover.job, submission=handover.submission)


def test_a_result_comes_across(handover: Handover) -> None:
    assert handover.outcome() is None
    with handover.recording() as put_result:
        put_result({"digest": "ab"})
    outcome = other_side(handover).outcome()
    assert outcome is not None
    assert (outcome.result, outcome.error) == ({"digest": "ab"}, None)
    assert outcome.seconds == 0.5


def test_an_error_comes_across_in_the_words_of_the_command_line(handover: Handover) -> None:
    with pytest.raises(DivergedError), handover.recording():
        raise DivergedError("loss is nan", item="step 7", remedy=str(Term.RUN_ANEW), stage="train")
    outcome = other_side(handover).outcome()
    assert outcome is not None
    assert isinstance(outcome.error, DivergedError)
    assert str(outcome.error) == "train: step 7: loss is nan - run with --force"


def test_a_bug_leaves_no_outcome(handover: Handover) -> None:
    with pytest.raises(ZeroDivisionError), handover.recording():
        raise ZeroDivisionError
    assert handover.outcome() is None


def test_progress_comes_across_now_and_then_and_at_the_end(handover: Handover) -> None:
    """A look at the clock takes half a second here, and a file is replaced every two seconds."""
    there = other_side(handover)
    assert there.progress() is None
    seen = []
    with handover.recording():
        for done in range(9):
            handover.put_progress(Progress(done=done, total=100, kept=1, loss=0.5, phase="saving"))
            seen.append(there.progress().done)  # type: ignore[union-attr] # it is there from the first one on
    assert seen == [0, 0, 0, 0, 4, 4, 4, 4, 8]
    handover.put_progress(Progress(done=9, total=100))
    handover.flush()
    assert there.progress() == Progress(done=9, total=100)


def test_what_a_job_began_comes_across_at_once(handover: Handover) -> None:
    """A job that is killed says nothing any more."""
    there = other_side(handover)
    assert there.begun_there() == set()
    handover.put_progress(Progress(done=0, total=100))
    handover.begun.add("0a")
    handover.put_progress(Progress(done=0, total=100))
    assert there.begun_there() == {"0a"}
    with handover.recording():
        handover.begun.add("1b")
    assert there.begun_there() == {"0a", "1b"}


def test_a_store_that_is_away_costs_no_progress_of_the_work(
    handover: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("is away")

    monkeypatch.setattr(LocalStore, "replace", away)
    handover.put_progress(Progress(done=1, total=2))
    monkeypatch.setattr(LocalStore, "read", away)
    assert handover.progress() is None


def test_a_spec_disturbs_nothing_of_another_job_of_its_id(handover: Handover) -> None:
    """Two runs may ask for one job at once, and the numbers of jobs begin anew with a cluster."""
    with handover.recording() as put_result:
        put_result({"digest": "ab"})
        handover.put_progress(Progress(done=1, total=1))
    handover.note_stop()
    other = Handover(store=handover.store, job=handover.job, submission="0b")
    address = other.put_spec({"run": {"name": "ä"}})
    assert address == f"{handover.store.uri}/.jobs/ddpm-train-1a-1/0b/spec.json"
    assert Path(address).read_text().startswith("{")
    assert (other.outcome(), other.progress(), other.is_stopped_by_run()) == (None, None, False)
    assert handover.outcome() is not None
    other.withdraw_spec()
    assert not Path(address).parent.exists()
