"""The most similar output: the fewest settings apart, on the same inputs, found within bounds or not at all."""

from dataclasses import replace

import pytest

from infra.digests import Json
from infra.errors import StorageError
from infra.outputs.plan import Output, Plan
from infra.outputs.similar import Similar, most_similar, nearest
from infra.storage.local_store import LocalStore
from infra.storage.s3_store import S3Store
from infra.storage.store import Store
from tests.faults.leases import FakeTime

HERE: Json = {"heat": 180, "sugar": 2, "form": "round", "parts": [1, 2]}


def begun(store: Store, plan: Plan, **settings: object) -> str:
    output = Output(store=store, plan=replace(plan, settings=HERE | settings))
    output.begin({})
    return output.folder


@pytest.fixture
def wanted(plan: Plan) -> Plan:
    return replace(plan, settings=HERE)


def find_the_nearest(store: Store, wanted: Plan) -> None:
    begun(store, wanted, heat=190, sugar=3)
    nearest = begun(store, wanted, heat=200)
    begun(store, replace(wanted, inputs={"dough": "cd" * 32}), sugar=9)
    begun(store, replace(wanted, stage="cook"), sugar=9)
    begun(store, wanted)
    found = most_similar(wanted, store)
    assert found == Similar(folder=nearest, settings={"heat": ("200", "180")})
    assert found.words == "heat 200 there, 180 here"


def test_the_one_with_the_fewest_differences_on_the_same_inputs(store: LocalStore, wanted: Plan) -> None:
    find_the_nearest(store, wanted)


def test_on_s3(moto_store: S3Store, wanted: Plan) -> None:
    find_the_nearest(moto_store, wanted)


def test_a_setting_that_a_plan_does_not_name_has_its_default(store: LocalStore, wanted: Plan) -> None:
    begun(store, wanted, colour="brown")
    found = most_similar(wanted, store)
    assert found is not None
    assert found.words == "colour brown there, the default here"


def test_more_than_three_differences_are_no_likeness(store: LocalStore, wanted: Plan) -> None:
    begun(store, wanted, heat=1, sugar=1, form="square", parts=[])
    assert most_similar(wanted, store) is None


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]", b"null", b"\xff", b'{"settings": 3}'])
def test_a_damaged_plan_is_left_out(store: LocalStore, wanted: Plan, garbage: bytes) -> None:
    store.put_if_absent("bake/0000/plan.json", garbage)
    store.put_if_absent("bake/0001/other.json", b"")
    folder = begun(store, wanted, heat=1)
    found = most_similar(wanted, store)
    assert found is not None
    assert found.folder == folder


def test_a_store_that_is_away_fails_nothing(store: LocalStore, wanted: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(store, wanted, heat=1)

    def fail(_: object, __: str) -> list[str]:
        raise StorageError("no answer")

    monkeypatch.setattr(LocalStore, "folders", fail)
    assert most_similar(wanted, store) is None


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 48), (0.5, 5)])
def test_it_reads_some_dozens_of_plans_within_seconds(
    store: LocalStore, wanted: Plan, monkeypatch: pytest.MonkeyPatch, seconds: float, most: int
) -> None:
    for heat in range(60):
        begun(store, wanted, heat=heat)
    fake, reads, read = FakeTime(), [], LocalStore.read

    def slow(self: LocalStore, name: str, start: int = 0, length: int | None = None) -> bytes:
        reads.append(name)
        fake.now += seconds
        return read(self, name, start, length)

    monkeypatch.setattr(LocalStore, "read", slow)
    assert most_similar(wanted, store, fake.clock) is not None
    assert len(reads) == most


def test_the_nearest_may_have_other_inputs_and_is_named_by_them(store: LocalStore, wanted: Plan) -> None:
    far = begun(store, replace(wanted, inputs={"dough": "cd" * 32}))
    found = nearest(wanted, store, {})
    assert found == Similar(folder=far, settings={}, inputs={"dough": ("cd" * 32, wanted.inputs["dough"])})
    more = begun(store, replace(wanted, inputs={"flour": "ef"}))
    assert nearest(wanted, store, {}) == found, "one input differs, and there two"
    near = begun(store, wanted, heat=1, sugar=1, form="square", parts=[])
    assert nearest(wanted, store, {}) == Similar(
        folder=near,
        settings={
            "form": ("square", "round"),
            "heat": ("1", "180"),
            "parts": ("[]", "[1, 2]"),
            "sugar": ("1", "2"),
        },
    )
    assert more


def test_a_default_is_named_if_it_is_known(store: LocalStore, wanted: Plan) -> None:
    begun(store, wanted, colour="brown")
    found = nearest(wanted, store, {"colour": "pale", "heat": 7})
    assert found is not None
    assert found.words == "colour brown there, pale here"


def test_the_plan_itself_is_no_other_and_an_older_form_of_it_is(store: LocalStore, wanted: Plan) -> None:
    begun(store, wanted)
    assert nearest(wanted, store, {}) is None
    older = begun(store, replace(wanted, format_version=wanted.format_version + 1))
    assert nearest(wanted, store, {}) == Similar(folder=older, settings={}, is_older=True)
    assert most_similar(wanted, store) is None
