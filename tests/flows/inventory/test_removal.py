"""A removal may be killed at any deletion, meet a run at any moment and lose the store: nothing is hurt."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from flows.inventory.pruning import Pruning
from flows.inventory.removal import Outcome, remove
from flows.run import open_run
from flows.runtime.handover import OUTCOME, Handover
from infra.errors import ConflictError, StorageError
from infra.outputs.manifest import parse_manifest, verify
from infra.outputs.plan import current
from infra.outputs.presence import LEASES, at_work, removal
from infra.storage.local_store import LocalStore
from infra.storage.s3_store import S3Store
from infra.storage.store import Store
from tests.conftest import TinyRun
from tests.faults.leases import holder, never
from tests.faults.proxy import Fault, fault_proxy
from tests.flows.inventory.conftest import QUICK
from tests.flows.inventory.roots import aside, begin, make_run, output, pruning, record_costs, seal, without_leases
from tests.servers import Server


class Killed(BaseException):
    """The end of a process."""


class Deadly:
    """A store whose process is killed at a deletion of something else than a lease."""

    def __init__(self, store: Store, after: int) -> None:
        self._store, self.left = store, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def delete(self, name: str) -> None:
        if "/lease/" not in name and not name.startswith(LEASES):
            if self.left == 0:
                raise Killed
            self.left -= 1
        self._store.delete(name)


def carry_out(store: Store, shown: Pruning | None = None, **more: object) -> Outcome:
    lines: list[str] = []
    return remove(store, shown or pruning(store), lambda: pruning(store), say=lines.append, **more)


def unused_run(store: Store) -> dict[str, bytes]:
    """A finished run beside one that nothing refers to; return all objects of the former."""
    record_costs(store, make_run(store))
    before = without_leases(store)
    record_costs(store, make_run(store, finish=False, rate=0.2))
    return before


def test_all_that_is_unneeded_goes_and_the_rest_keeps_its_bytes(store: LocalStore) -> None:
    before = unused_run(store)
    outcome = carry_out(store)
    assert without_leases(store) == before
    assert not outcome.kept
    assert outcome.bytes > 0
    empty = [path for path in store.root.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert all(path.parent == store.root for path in empty), "no empty folder stays"
    assert carry_out(store).removed == [], "a second one has nothing to do"


def unused_pair(store: Store) -> None:
    """Two outputs that nothing refers to, of which one was made from the other."""
    features = seal(output(store, "features", {}, {"listing": "ab" * 32}), {}, {})
    rests_on = {"outputs": {"features_samples": features.folder}}
    seal(output(store, "evaluate", {}, {"features_samples": features.digest}), {}, rests_on, 1)


def test_s3_loses_the_same(moto_store: S3Store) -> None:
    unused_pair(moto_store)
    assert len(carry_out(moto_store).removed) == 2
    assert moto_store.list(".") == []


def copied(store: LocalStore, root: Path) -> LocalStore:
    """A copy of a root, with the times of its objects."""
    shutil.copytree(store.root, root)
    return LocalStore(root)


def sealed_outputs_are_whole(store: Store) -> None:
    """Everything that looks sealed is, and so is everything that it was made from."""
    known = {}
    for name in store.list("."):
        if "/manifests/" in name:
            manifest = parse_manifest(store.read(name), item=name)
            verify(store, manifest)
            known[manifest.digest] = manifest
    for manifest in known.values():
        for role, digest in manifest.plan["inputs"].items():
            assert role in ("listing", "classifier") or digest in known, f"{manifest.folder} lost its {role}"
        for folder in manifest.facts.get("outputs", {}).values():
            assert store.list(f"{folder}/manifests")


def test_a_kill_at_any_deletion_leaves_nothing_that_looks_sealed_and_a_second_removal_ends_it(tmp_path: Path) -> None:
    original = LocalStore(tmp_path / "root")
    before = unused_run(original)
    doomed = len(without_leases(original)) - len(before)
    assert doomed > 20
    for steps in range(doomed + 1):
        store = copied(original, tmp_path / str(steps))
        with pytest.raises(Killed) if steps < doomed else nullcontext():
            carry_out(Deadly(store, steps))
        sealed_outputs_are_whole(store)
        carry_out(store)
        assert without_leases(store) == before, f"killed at deletion {steps}"


def test_after_a_kill_at_any_deletion_the_same_run_makes_the_same_again(tmp_path: Path) -> None:
    """A run that comes after the kill finds a state that the output was in before, and seals the same bytes."""
    expected = make_run(LocalStore(tmp_path / "undisturbed"), rate=0.2)
    original = LocalStore(tmp_path / "root")
    unused_run(original)
    for steps in range(0, 20, 3):
        store = copied(original, tmp_path / str(steps))
        with pytest.raises(Killed):
            carry_out(Deadly(store, steps))
        again = make_run(store, "b-5e6f7a8b", rate=0.2)
        assert {stage: one.digest for stage, one in again.items()} == {
            stage: one.digest for stage, one in expected.items()
        }
        sealed_outputs_are_whole(store)


def test_a_run_at_work_keeps_every_output(store: LocalStore) -> None:
    """It may have found any of them without a lease, or be about to go on with one that is only begun."""
    unused_run(store)
    begun = begin(output(store, "sample", {"seed": 9}, {"snapshot": "ab" * 32}))
    shown, before = pruning(store), without_leases(store)
    with at_work(store, holder("photos"), on_wait=never):
        outcome = carry_out(store, shown)
    assert outcome.removed == []
    assert begun.folder in outcome.kept
    assert all(why.startswith("a run may have found it: photos on host ") for why in outcome.kept.values())
    assert without_leases(store) == before


def test_files_of_jobs_go_and_one_that_may_be_at_work_stays_while_a_run_works(store: LocalStore) -> None:
    folders = []
    for submission in ("0a", "0b"):
        handover = Handover(store=store, job="ddpm-train-1a-1", submission=submission)
        handover.put_spec({})
        folders.append(f".jobs/ddpm-train-1a-1/{submission}")
    store.replace(f"{folders[0]}/{OUTCOME}", b"{}")
    shown = pruning(store)
    with at_work(store, holder("photos"), on_wait=never):
        outcome = carry_out(store, shown)
    assert [one.name for one in outcome.removed] == folders[:1]
    assert outcome.kept[folders[1]].startswith("it may be at work: photos on host ")
    assert carry_out(store, pruning(store)).kept == {}
    assert store.list(".jobs") == []


def test_a_run_that_finishes_between_the_listing_and_the_removal_keeps_its_outputs(store: LocalStore) -> None:
    unused_run(store)
    shown = pruning(store)
    make_run(store, "b-5e6f7a8b", rate=0.2)
    before = without_leases(store)
    outcome = carry_out(store, shown)
    assert outcome.removed == []
    assert set(outcome.kept) == {one.name for one in shown.removals}
    assert without_leases(store) == before


def test_an_output_that_a_run_went_on_with_since_the_listing_stays(store: LocalStore) -> None:
    begun = begin(output(store, "sample", {"seed": 9}, {"snapshot": "ab" * 32}))
    shown = pruning(store)
    begin(begun, units=3)
    outcome = carry_out(store, shown)
    assert outcome.kept == {begun.folder: "has changed since it was listed"}
    assert begun.records("units") == [f"units/{number:06d}" for number in range(3)]


def test_an_output_that_a_run_takes_in_the_last_moment_stays_with_its_inputs(store: LocalStore) -> None:
    """Between the second listing and the lease."""
    made = make_run(store, finish=False)
    shown = pruning(store)
    lease = f"{made['sample'].folder}/lease/{1:012}.json"

    def find() -> Pruning:
        found = pruning(store)
        store.put_if_absent(lease, holder("digits").to_bytes())
        return found

    outcome = remove(store, shown, find, say=len)
    stay = {made[stage].folder for stage in ("sample", "train", "prepare")}
    assert set(outcome.kept) >= {made["sample"].folder}
    assert stay == set(outcome.kept)
    store.delete(lease)
    sealed_outputs_are_whole(store)
    assert all(store.list(folder) for folder in stay)


def test_what_came_since_the_listing_is_not_removed_unseen(store: LocalStore) -> None:
    make_run(store)
    shown = pruning(store)
    begun = begin(output(store, "sample", {"seed": 9}, {"snapshot": "ab" * 32}))
    assert carry_out(store, shown).removed == []
    assert begun.records("units")


def test_two_removals_do_not_meet(store: LocalStore) -> None:
    unused_run(store)
    with removal(store, holder("other"), on_wait=never), pytest.raises(ConflictError, match=r"^other on host"):
        carry_out(store)


def test_without_word_from_the_registry_sealed_outputs_stay(store: LocalStore) -> None:
    unused_run(store)
    before = without_leases(store)
    outcome = carry_out(store, hindrance="MLflow did not answer")
    assert outcome.removed == []
    assert without_leases(store) == before


@pytest.fixture
def failing(moto: Server, moto_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], S3Store]]:
    """The same root behind a network on which deletions fail from some number on."""
    with fault_proxy(moto.url) as proxy:

        def fail_from(first: int) -> S3Store:
            count = 0

            def fate(_: int, seen: object) -> Fault | None:
                nonlocal count
                is_mine = getattr(seen, "method", "") == "DELETE" and "lease" not in getattr(seen, "path", "")
                count += is_mine
                return Fault("status", 503) if is_mine and count > first else None

            proxy.set(fate)
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            return S3Store(moto_store.bucket, moto_store.prefix, QUICK)

        yield fail_from


def test_a_store_that_fails_at_deletions_ends_it_with_a_line_and_the_next_one_goes_on(
    moto_store: S3Store, failing: Callable[[int], S3Store]
) -> None:
    unused_pair(moto_store)
    with pytest.raises(StorageError, match="the store has failed for 1 s"):
        carry_out(failing(3))
    left = without_leases(moto_store)
    assert left
    sealed_outputs_are_whole(moto_store)
    carry_out(failing(1000))
    assert without_leases(moto_store) == {}


def test_a_later_attempt_is_found_after_the_removal_of_one_between(store: LocalStore) -> None:
    for attempt in range(3):
        made = make_run(store, attempt=attempt)
    carry_out(store)
    train = output(store, "train", {"learning_rate": 0.1}, {"dataset": made["prepare"].digest})
    assert current(train).folder == made["train"].folder == aside(train, 2).folder
    sealed_outputs_are_whole(store)
    assert carry_out(store).removed == []


def test_a_real_run_is_read_after_a_real_removal(finished: TinyRun) -> None:
    """Beside its outputs there is one that nothing refers to, and its training keeps spare checkpoints."""
    seal(output(finished.store, "sample", {"seed": 9}, {"snapshot": finished.snapshot.digest}), {"count": 2}, {}, 2)
    shown = pruning(finished.store)
    assert {one.name.partition("/")[0] for one in shown.removals} == {"sample", "train"}
    outcome = carry_out(finished.store, shown)
    assert not outcome.kept
    run = open_run("1a2b3c4d", finished.root)
    assert run.images("samples")[0].shape[0] == finished.samples.count
    run.network()
    for point in run.points():
        run.network(str(point.images_seen))
    sealed_outputs_are_whole(finished.store)
