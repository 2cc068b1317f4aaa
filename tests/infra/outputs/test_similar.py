"""The most similar output: the fewest settings apart, on the same inputs, found within bounds or not at all."""

import json
import os
import threading
import time
from dataclasses import replace
from itertools import chain, repeat

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
FAR: Json = {"heat": 9, "sugar": 9}


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
    assert nearest(wanted, store, {}) == (None, 0, None)


def test_hundreds_of_plans_are_read_on_a_store_that_takes_40_ms(store: LocalStore, wanted: Plan) -> None:
    """One by one they would take eight seconds, and the bound is two; the nearest has the last key."""

    class Slow(LocalStore):
        def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            time.sleep(0.04)
            return super().read(name, start, length)

    far, near = ({"stage": "bake", "settings": HERE | other, "inputs": wanted.inputs} for other in (FAR, {"heat": 1}))
    for number in range(200):
        store.put_if_absent(f"bake/{number:04d}/plan.json", json.dumps(near if number == 199 else far).encode())
    found = most_similar(wanted, Slow(store.root))
    assert found is not None
    assert found.folder == "bake/0199"
    assert nearest(wanted, Slow(store.root), {})[1:] == (200, 200)


def test_it_stops_after_two_seconds_and_says_of_how_many(store: LocalStore, wanted: Plan) -> None:
    for heat in range(60):
        begun(store, wanted, heat=heat)
    times = chain([0.0], repeat(0.5, 5), repeat(2.5))
    lock = threading.Lock()

    def clock() -> float:
        with lock:
            return next(times)

    found = nearest(wanted, store, {}, clock)
    assert found.output is not None
    assert (found.read, found.there) == (5, 60)


def test_the_time_of_the_listing_is_not_that_of_reading(store: LocalStore, wanted: Plan) -> None:
    fake = FakeTime()

    class SlowToList(LocalStore):
        def folders(self, prefix: str) -> list[str]:
            fake.now += 9.0
            return super().folders(prefix)

    folder = begun(store, wanted, heat=1)
    found = nearest(wanted, SlowToList(store.root), {}, fake.clock)
    assert found.output is not None
    assert found.output.folder == folder


def test_of_more_than_can_be_read_the_newest_are(
    store: LocalStore, wanted: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.outputs.similar._MOST_PLANS", 2)
    ages = {begun(store, wanted, heat=heat): heat for heat in range(8)}
    for folder, age in ages.items():
        os.utime(store.root / folder, (1000 - age, 1000 - age))
    newest = sorted(ages, key=lambda folder: ages[folder])[:2]
    found = nearest(wanted, store, {})
    assert found == (Similar(folder=min(newest), settings={"heat": (str(ages[min(newest)]), "180")}), 2, 8)


def test_the_nearest_may_have_other_inputs_and_is_named_by_them(store: LocalStore, wanted: Plan) -> None:
    far = begun(store, replace(wanted, inputs={"dough": "cd" * 32}))
    found = nearest(wanted, store, {}).output
    assert found == Similar(folder=far, settings={}, inputs={"dough": ("cd" * 32, wanted.inputs["dough"])})
    more = begun(store, replace(wanted, inputs={"flour": "ef"}))
    assert nearest(wanted, store, {}).output == found, "one input differs, and there two"
    near = begun(store, wanted, heat=1, sugar=1, form="square", parts=[])
    assert nearest(wanted, store, {}).output == Similar(
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
    found = nearest(wanted, store, {"colour": "pale", "heat": 7}).output
    assert found is not None
    assert found.words == "colour brown there, pale here"


def test_the_plan_itself_is_no_other_and_an_older_form_of_it_is(store: LocalStore, wanted: Plan) -> None:
    begun(store, wanted)
    assert nearest(wanted, store, {}) == (None, 1, 1)
    older = begun(store, replace(wanted, format_version=wanted.format_version + 1))
    assert nearest(wanted, store, {}).output == Similar(folder=older, settings={}, is_older=True)
    assert most_similar(wanted, store) is None
