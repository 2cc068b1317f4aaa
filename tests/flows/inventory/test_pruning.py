"""Everything that nothing refers to may be removed from a root, and nothing else."""

import time

import pytest

from flows.inventory.pruning import Pruning
from flows.run_record import note_begun
from flows.runtime.handover import Handover
from flows.stage import Progress
from infra.outputs.followers import following
from infra.outputs.plan import current
from infra.storage.local_store import LocalStore
from tests.faults.leases import holder, never
from tests.flows.inventory.roots import aside, begin, inventory, make_run, output, pruning, seal

DAY_S = 86400.0


def names(found: Pruning) -> list[str]:
    return [one.name for one in found.removals]


def test_nothing_of_finished_runs_is_unneeded(store: LocalStore) -> None:
    make_run(store, "a-1a2b3c4d")
    make_run(store, "b-5e6f7a8b", rate=0.2)
    make_run(store, "c-9c0d1e2f", seed=1)
    found = pruning(store)
    assert names(found) == []
    assert found.kept == {}


def test_what_only_an_unfinished_run_made_is_unneeded(store: LocalStore) -> None:
    finished = make_run(store)
    other = make_run(store, finish=False, rate=0.2)
    mine = {manifest.folder for manifest in other.values()} - {manifest.folder for manifest in finished.values()}
    found = pruning(store)
    assert set(names(found)) == mine
    assert {one.reason for one in found.removals} == {"sealed, and no finished run refers to it"}
    assert found.bytes == sum(found.inventory.outputs[name].size.bytes for name in mine)
    assert names(found)[0] == other["evaluate"].folder, "before what it was made from"


def test_an_attempt_that_force_put_aside_is_unneeded(store: LocalStore) -> None:
    first = make_run(store)
    assert names(pruning(store)) == []
    make_run(store, attempt=1)
    found = pruning(store)
    assert set(names(found)) == {manifest.folder for manifest in first.values()}
    assert {one.reason for one in found.removals} == {"put aside: a later attempt began afresh"}


def test_an_attempt_between_keeps_its_plan_so_that_the_later_one_is_found(store: LocalStore) -> None:
    for attempt in range(3):
        made = make_run(store, attempt=attempt)
    found = pruning(store)
    keeps = {one.name: one.keeps_plan for one in found.removals}
    base = made["train"].folder.partition(".")[0]
    assert keeps[base] is False
    assert keeps[f"{base}.1"] is True
    for one in found.removals:
        assert one.output is not None
        for name in store.list(one.name):
            if not (one.keeps_plan and name.endswith("/plan.json")):
                store.delete(name)
    latest = current(output(store, "train", {"learning_rate": 0.1}, {"dataset": made["prepare"].digest}))
    assert latest.folder == f"{base}.2"
    again = pruning(store)
    assert names(again) == [], "what is left of the one between keeps its number taken"
    assert inventory(store).outputs[f"{base}.1"].state == "removed"


def test_a_forced_attempt_that_was_never_finished_is_unneeded(store: LocalStore) -> None:
    made = make_run(store)
    begun = begin(aside(output(store, "train", {"learning_rate": 0.1}, {"dataset": made["prepare"].digest}), 1))
    assert names(pruning(store)) == [begun.folder]
    assert pruning(store).removals[0].reason == "begun, and no finished run refers to it"


def test_what_a_run_holds_stays_with_all_that_it_was_made_from(store: LocalStore) -> None:
    made = make_run(store, finish=False)
    held = made["sample"].folder
    # Damaged: nobody knows the holder, who may be anywhere.
    store.put_if_absent(f"{held}/lease/{1:012}.json", b"{")
    found = pruning(store)
    stay = {made[stage].folder for stage in ("sample", "train", "prepare")}
    assert stay.isdisjoint(names(found))
    assert set(names(found)) == {manifest.folder for manifest in made.values()} - stay
    assert found.kept == {held: "another run is working on this"}


def test_what_is_younger_stays_with_all_that_it_was_made_from(store: LocalStore) -> None:
    made = make_run(store, finish=False)
    now_s = time.time()
    assert names(pruning(store, now_s=now_s + DAY_S, older_than_s=2 * DAY_S)) == []
    assert set(names(pruning(store, now_s=now_s + 3 * DAY_S, older_than_s=2 * DAY_S))) == {
        manifest.folder for manifest in made.values()
    }


def test_what_a_registered_model_names_stays(store: LocalStore) -> None:
    made = make_run(store, finish=False)
    found = pruning(store, registered={made["train"].folder: "models:/digits/3"})
    assert {made["train"].folder, made["prepare"].folder}.isdisjoint(names(found))
    assert made["sample"].folder in names(found)
    assert found.kept == {made["train"].folder: "models:/digits/3 names it"}


@pytest.mark.parametrize("damaged", ["run", "manifest", "plan"])
def test_a_record_that_cannot_be_read_may_refer_to_anything(store: LocalStore, damaged: str) -> None:
    make_run(store)
    other = make_run(store, "b-5e6f7a8b", rate=0.2, finish=damaged == "run")
    make_run(store, "c-9c0d1e2f", rate=0.3, finish=False)
    assert names(pruning(store))
    where = {
        "run": "reports/b-5e6f7a8b/run.json",
        "manifest": other["evaluate"].name,
        "plan": f"{other['train'].folder}/plan.json",
    }
    store.replace(where[damaged], b'{"damaged": ')
    found = pruning(store)
    assert names(found) == []
    assert where[damaged] in found.inventory.damage[0]


def test_puts_in_flight_are_left_alone_for_a_day(store: LocalStore) -> None:
    (store.root / ".tmp").mkdir(exist_ok=True)
    (store.root / ".tmp" / "0123abcd").write_bytes(b"half")
    now_s = time.time()
    assert names(pruning(store, now_s=now_s + DAY_S - 60)) == []
    (one,) = pruning(store, now_s=now_s + DAY_S + 60).removals
    assert (one.name, one.bytes, one.reason) == (".tmp/0123abcd", 4, "left by a process that ended")


def job_files(store: LocalStore, submission: str, *, ends: bool = True) -> str:
    """The files of a job that a run left or, without an end, that is killed or at work."""
    handover = Handover(store=store, job="ddpm-train-1a-1", submission=submission)
    handover.put_spec({})
    handover.put_progress(Progress(done=1, total=2))
    if ends:
        with handover.recording() as put_result:
            put_result({})
    return f".jobs/ddpm-train-1a-1/{submission}"


def test_files_of_jobs_go_after_a_day(store: LocalStore) -> None:
    ended, killed = job_files(store, "0a"), job_files(store, "0b", ends=False)
    now_s = time.time()
    assert names(pruning(store, now_s=now_s + DAY_S - 60)) == []
    assert names(pruning(store, now_s=now_s + DAY_S + 60, older_than_s=2 * DAY_S)) == []
    found = pruning(store, now_s=now_s + DAY_S + 60).removals
    assert [(one.name, one.reason, one.files, one.may_work) for one in found] == [
        (ended, "of a job that has ended", 3, False),
        (killed, "of a job that left no outcome", 2, True),
    ]
    assert found[0].names[-1] == f"{ended}/outcome.json", "a removal that is killed leaves a job that has ended"


def test_files_of_a_job_that_a_run_follows_stay(store: LocalStore) -> None:
    folder = job_files(store, "0a")
    with following(store, "ddpm-train-1a-1", holder("digits"), on_wait=never):
        assert names(pruning(store)) == []
    assert names(pruning(store)) == [folder]


def test_the_note_of_a_run_that_was_not_finished_goes_unless_it_is_at_work(store: LocalStore) -> None:
    for name in ("a-1a2b3c4d", "b-5e6f7a8b"):
        note_begun(name, {}, store)
    store.put_if_absent(f".leases/0123/lease/{1:012}.json", holder("a-1a2b3c4d").to_bytes())
    assert names(pruning(store)) == [".runs/b-5e6f7a8b.json"]


def test_checkpoints_before_the_last_goal_are_spare(store: LocalStore) -> None:
    made = make_run(store)
    train = output(store, "train", {"learning_rate": 0.1}, {"dataset": made["prepare"].digest})
    places = (160, 320, 480, 640, 800)
    checkpoints = {
        place: train.commit(f"checkpoints/{place:012d}", "safetensors", b"c" * place, {}) for place in places
    }
    for goal in (320, 640):
        train.commit(f"snapshots/{goal:012d}", "safetensors", b"s" * goal, {})
    (one,) = pruning(store).removals
    spare = [f"{train.folder}/checkpoints/{place:012d}.json" for place in (160, 480)]
    assert [name for name in one.names if name.endswith(".json")] == spare
    assert [name.rpartition("/")[2] for name in one.names if not name.endswith(".json")] == [
        checkpoints[place].file.rpartition("/")[2] for place in (160, 480)
    ]
    assert one.name == train.folder
    # The one at the goal is what a longer run goes on from; while it is damaged, those before it are needed.
    store.replace(f"{train.folder}/{checkpoints[640].file}", b"damaged")
    assert names(pruning(store)) == []


def test_outputs_of_a_training_without_a_goal_are_not_picked_apart(store: LocalStore) -> None:
    made = make_run(store)
    begun = begin(output(store, "train", {"learning_rate": 0.7}, {"dataset": made["prepare"].digest}), units=0)
    for place in (160, 320):
        begun.commit(f"checkpoints/{place:012d}", "safetensors", b"c", {})
    (one,) = pruning(store).removals
    assert (one.name, one.names) == (begun.folder, ())


def test_the_figures_of_a_score_are_unneeded_and_keep_what_they_rest_on_if_they_are_young(store: LocalStore) -> None:
    features = seal(output(store, "features", {}, {"images": "ef" * 32}), {}, {})
    score = seal(
        output(store, "score", {}, {"features": features.digest}), {}, {"outputs": {"features": features.folder}}
    )
    assert names(pruning(store)) == [score.folder, features.folder]
    assert names(pruning(store, now_s=time.time(), older_than_s=DAY_S)) == []
