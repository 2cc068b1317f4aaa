"""An inventory knows every output of a root, what it was made from and who uses it."""

import os
import time

from flows.inventory.inventory import latest_attempts
from flows.inventory.pruning import find_removals
from flows.run_record import BEGUN
from infra.outputs.plan import Output, Plan
from infra.storage.local_store import LocalStore
from infra.storage.s3_store import S3Store
from tests.conftest import TinyRun
from tests.faults.leases import elsewhere
from tests.flows.inventory.roots import begin, inventory, make_run, output, seal


def test_a_run_reaches_all_its_outputs_and_none_of_another(store: LocalStore) -> None:
    mine = make_run(store, "a-1a2b3c4d")
    other = make_run(store, "b-5e6f7a8b", rate=0.2)
    found = inventory(store)
    assert not found.damage
    folders = {manifest.folder for manifest in mine.values()}
    assert found.closure("/".join(name.split("/")[:2]) for name in found.runs[0].artifacts.values()) == folders
    shared = {mine["prepare"].folder, mine["features_reference"].folder}
    assert folders & {manifest.folder for manifest in other.values()} == shared
    users = found.runs_by_output()
    assert all(users[folder] == {"a-1a2b3c4d", "b-5e6f7a8b"} for folder in shared)
    assert users[other["train"].folder] == {"b-5e6f7a8b"}


def test_users_come_before_what_they_were_made_from(store: LocalStore) -> None:
    made = make_run(store)
    found = inventory(store)
    order = [one.stage for one in found.by_use(found.outputs.values())]
    assert len(order) == len({manifest.folder for manifest in made.values()})
    assert [stage for stage in order if stage != "features"] == ["evaluate", "sample", "train", "prepare"]
    assert order.index("evaluate") < order.index("features")
    assert max(place for place, stage in enumerate(order) if stage == "features") < order.index("prepare")


def test_of_attempts_that_came_out_equal_the_named_one_counts(store: LocalStore) -> None:
    make_run(store, finish=False)
    forced = make_run(store, attempt=1)
    found = inventory(store)
    assert len(found.with_digest(forced["train"].digest)) == 2
    (run,) = found.runs
    closure = found.closure("/".join(name.split("/")[:2]) for name in run.artifacts.values())
    assert closure == {manifest.folder for manifest in forced.values()}
    assert latest_attempts(found.with_digest(forced["train"].digest)) == [forced["train"].folder]


def test_an_output_counts_what_it_holds(store: LocalStore) -> None:
    made = make_run(store)["train"]
    begun = begin(output(store, "sample", {"seed": 7}, {"snapshot": made.digest}), units=3)
    store.put_if_absent(f"{begun.folder}/lease/{1:012}.json", b"{")
    found = inventory(store).outputs[begun.folder]
    assert (found.state, found.units, found.key, found.attempt) == ("held", 3, begun.plan.key, 0)
    files = [name for name in store.list(begun.folder) if "/lease/" not in name]
    assert found.size.files == len(files)
    assert found.size.bytes == sum(len(store.read(name)) for name in files)
    trained = inventory(store).outputs[made.folder]
    assert (trained.state, trained.goals, trained.units) == ("sealed", "images 640", 1)


def test_a_lost_machines_lease_is_shown_with_its_silence_and_then_counts_as_free(store: LocalStore) -> None:
    """By the store's clock, in which a machine that is off gives no sign."""
    begun = begin(output(store, "sample", {"seed": 7}, {"snapshot": "ab" * 32}))
    store.put_if_absent(f"{BEGUN}/far.json", b"{}")
    leases = [f"{begun.folder}/lease/{1:012}.json", f".leases/0123456789/lease/{1:012}.json"]
    for name in leases:
        store.put_if_absent(name, elsewhere().to_bytes())
    for silent_s, words in ((0, ""), (200, "; no sign of life for 3 min"), (400, None), (90_000, None)):
        for name in leases:
            then = time.time() - silent_s
            os.utime(store.root / name, (then, then))
        found = inventory(store)
        (run,) = found.runs
        for line in (found.outputs[begun.folder].holder, run.holder):
            if words is None:
                assert line == ""
            else:
                assert line.startswith("far on host node7, process ")
                assert line.endswith(f" UTC){words}")
    shown = find_removals(found, now_s=store.now_s())
    assert leases[1] in [one.name for one in shown.removals], "a day old: nobody will renew it"
    assert begun.folder in [one.name for one in shown.removals]


def test_a_network_to_start_from_is_known_by_its_content(store: LocalStore) -> None:
    plan = Plan(stage="initial", format_version=1, settings={}, inputs={"network": "cd" * 32})
    initial = seal(Output(store=store, plan=plan), {}, {"place": "train/x"}, 1)
    tuned = seal(
        output(store, "train", {}, {"dataset": "ab" * 32, "initial": "cd" * 32}), {"images": 1}, {"images_seen": 1}, 1
    )
    assert inventory(store).closure([tuned.folder]) == {tuned.folder, initial.folder}


def test_folders_of_others_are_no_outputs(store: LocalStore) -> None:
    for name in ("train/notes.txt", f"train/{'0' * 20}/mine.bin", "photos/a.png", f"train/{'0' * 19}/plan.json"):
        store.put_if_absent(name, b"x")
    found = inventory(store)
    assert not found.outputs
    assert not found.damage


def test_what_cannot_be_read_is_said(store: LocalStore) -> None:
    made = make_run(store)
    store.replace(made["sample"].name, store.read(made["sample"].name)[:-9])
    store.replace("reports/digits-1a2b3c4d/run.json", b"{}")
    store.replace(f"{made['train'].folder}/plan.json", store.read(f"{made['prepare'].folder}/plan.json"))
    found = inventory(store)
    words = " ".join(found.damage)
    for name in (made["sample"].name, "reports/digits-1a2b3c4d/run.json", f"{made['train'].folder}/plan.json"):
        assert name in words
    assert {found.outputs[made[stage].folder].state for stage in ("sample", "train")} == {"damaged"}


def test_a_real_run_is_whole(finished: TinyRun) -> None:
    """The stages themselves wrote these: every input but the listing of the source is found."""
    found = inventory(finished.store)
    assert not found.damage
    (run,) = found.runs
    closure = found.closure("/".join(name.split("/")[:2]) for name in run.artifacts.values())
    assert closure == set(found.outputs), "nothing of a single run is unused"
    missing = {one.role for output in found.outputs.values() for one in found.inputs(output) if not one.outputs}
    assert missing == {"listing"}


def test_s3_holds_the_same(store: LocalStore, moto_store: S3Store) -> None:
    make_run(store)
    for name in store.list("."):
        moto_store.put_if_absent(name, store.read(name))
    here, there = inventory(store), inventory(moto_store)
    assert list(here.outputs) == list(there.outputs)
    assert [one.size.bytes for one in here.outputs.values()] == [one.size.bytes for one in there.outputs.values()]
    assert [run.name for run in there.runs] == ["digits-1a2b3c4d"]
