"""A list of runs shows what differs between them, and says what is unfinished, damaged or left out."""

from flows.inventory.listing import RunList, list_runs
from flows.inventory.reading import READERS, Reader
from flows.run import open_run
from flows.run_record import note_begun
from infra.outputs.presence import LEASES
from infra.storage.local_store import LocalStore
from infra.storage.store import Store
from tests.conftest import TinyRun
from tests.faults.leases import FakeTime, holder
from tests.flows.inventory.roots import FIGURE, inventory, make_run


def listed(store: Store) -> RunList:
    reader = Reader(store=store)
    return list_runs(reader, reader.with_begun_runs(reader.finished_runs()))


def test_only_settings_that_are_not_equal_in_all_runs_differ(store: LocalStore) -> None:
    make_run(store, "a-1a2b3c4d")
    make_run(store, "b-5e6f7a8b", rate=0.2)
    make_run(store, "c-9c0d1e2f", seed=1)
    found = listed(store)
    assert [one.run.name for one in found.runs] == ["a-1a2b3c4d", "b-5e6f7a8b", "c-9c0d1e2f"]
    assert set(found.differing) == {"train.learning_rate", "sample.seed"}
    assert found.usual == {"train.learning_rate": 0.1, "sample.seed": 0}
    assert [found.differences(one) for one in found.runs] == [{}, {"train.learning_rate": 0.2}, {"sample.seed": 1}]
    assert [list(one.figures) for one in found.runs] == [[FIGURE]] * 3
    assert {one.state for one in found.runs} == {"finished"}


def test_of_two_runs_each_value_is_shown(store: LocalStore) -> None:
    make_run(store, "a-1a2b3c4d")
    make_run(store, "b-5e6f7a8b", rate=0.2)
    found = listed(store)
    assert [found.differences(one) for one in found.runs] == [
        {"train.learning_rate": 0.1},
        {"train.learning_rate": 0.2},
    ]
    assert found.usual == {}


def test_a_run_that_has_begun_is_unfinished_until_its_record_is_written(store: LocalStore) -> None:
    note_begun("digits-1a2b3c4d", {"train.learning_rate": 0.3}, store)
    store.put_if_absent(f".leases/0123/lease/{1:012}.json", holder("digits-1a2b3c4d").to_bytes())
    (one,) = listed(store).runs
    assert (one.state, one.settings) == ("at work", {"train.learning_rate": 0.3})
    store.delete(f".leases/0123/lease/{1:012}.json")
    assert [one.state for one in listed(store).runs] == ["unfinished"]
    make_run(store)
    assert [one.state for one in listed(store).runs] == ["finished"]
    assert store.list(".runs") == []


def test_a_damaged_run_stays_in_the_list(store: LocalStore) -> None:
    made = make_run(store, "a-1a2b3c4d")
    make_run(store, "b-5e6f7a8b", rate=0.2)
    store.replace(made["train"].name, b"{}")
    store.replace("reports/b-5e6f7a8b/run.json", b"{")
    first, second = listed(store).runs
    assert (first.state, second.state) == ("damaged", "damaged")
    assert made["train"].name in first.damage
    assert "reports/b-5e6f7a8b/run.json" in second.damage


def test_after_its_time_the_reading_ends_and_says_what_it_left_out(store: LocalStore) -> None:
    for number in range(3):
        make_run(store, f"r-{number}", seed=number)
    time = FakeTime()
    reader = Reader(store=store, seconds=5, clock=time.clock)
    runs = reader.finished_runs()
    time.sleep(6)
    found = list_runs(reader, runs)
    assert "outputs were not read" in found.left_out
    assert found.differing == []
    later = Reader(store=store, seconds=5, clock=time.clock)
    time.sleep(6)
    assert later.finished_runs() == []
    assert later.left_out == "the listing of reports/ was not finished"


def test_the_time_also_bounds_the_reading_of_unfinished_runs_and_of_leases(store: LocalStore) -> None:
    """On a store that takes a second per answer."""
    time, many = FakeTime(), 60
    for number in range(many):
        note_begun(f"r-{number}", {"train.images": 5}, store)
        store.put_if_absent(f"{LEASES}/{number:020}/lease/{1:012}.json", holder(f"r-{number}").to_bytes())

    class Slow:
        reads = 0

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def read(self, name: str) -> bytes:
            self.reads += 1
            time.sleep(1)
            return store.read(name)

    slow = Slow()
    reader = Reader(store=slow, seconds=10, clock=time.clock)
    found = list_runs(reader, reader.with_begun_runs(reader.finished_runs()))
    assert slow.reads <= 10 + 3 * READERS
    assert "leases of runs were not read" in found.left_out
    assert "the listing of .runs/ was not finished" in found.left_out
    later = Reader(store=slow, seconds=5, clock=time.clock)
    time.sleep(6)
    assert later.with_begun_runs([]) == []
    assert "the leases of runs were not read" in later.left_out


def test_the_settings_are_those_of_the_run_itself(finished: TinyRun) -> None:
    (one,) = listed(finished.store).runs
    assert one.settings == open_run(one.run.name, finished.root).settings
    assert [figure.name for figure in one.figures] == [figure.name for figure in finished.figures.figures]
    assert not inventory(finished.store).left_out
