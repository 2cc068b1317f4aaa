"""Records of costs: one per attempt, numbered, replaced by their own attempt alone, and never in the way."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import StorageError
from infra.outputs.costs import Attempt, Costs, all_attempts, parse_attempt, records_by_output, work_key
from infra.storage.local_store import LocalStore
from infra.storage.s3_store import S3Store
from infra.storage.store import Store, StoredObject

BAKED = Attempt(stage="bake", run="loaves", settings={"heat": 180}, inputs=("ab",), unit="images", done=40, wall_s=2.5)


def of(store: Store, work: str = "0123") -> Costs:
    return Costs(store=store, stage="bake", work=work)


def count_the_attempts(store: Store) -> None:
    costs = of(store)
    first, second = costs.claim(BAKED), costs.claim(replace(BAKED, start=40))
    assert [first, second] == [".costs/bake/0123/000001.json", ".costs/bake/0123/000002.json"]
    store.replace(first, replace(BAKED, outcome="sealed", output_bytes=7).to_bytes())
    assert costs.attempts() == [replace(BAKED, outcome="sealed", output_bytes=7), replace(BAKED, start=40)]
    of(store, "4567").claim(BAKED)
    assert len(all_attempts("bake", store).attempts) == 3
    assert all_attempts("bake", store).unread == 0
    found, unread = all_attempts("bake", store, most=2)
    assert (len(found), unread) == (2, 1)
    assert all_attempts("cook", store) == ([], 0)


def test_attempts_are_counted(store: LocalStore) -> None:
    count_the_attempts(store)


def test_on_s3(moto_store: S3Store) -> None:
    count_the_attempts(moto_store)


def test_a_number_that_another_attempt_took_meanwhile_is_left_to_it(store: LocalStore) -> None:
    class Late(LocalStore):
        def list(self, prefix: str) -> list[str]:
            return []

    of(store).claim(BAKED)
    assert of(Late(store.root)).claim(BAKED).endswith("/000002.json")
    assert len(of(store).attempts()) == 2


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{}", b'{"stage":3}', b'{"stage":"bake","wall_s":"long"}', b'{"stage":"bake","goal":[]}']
)
def test_a_damaged_record_is_left_out(store: LocalStore, damage: bytes) -> None:
    store.replace(of(store).claim(BAKED), damage)
    of(store).claim(BAKED)
    assert of(store).attempts() == [BAKED]


def test_a_field_of_a_later_release_is_left_out() -> None:
    assert parse_attempt(json.dumps(json.loads(BAKED.to_bytes()) | {"smell": "good"}).encode()) == BAKED


def test_a_store_that_fails_has_no_records() -> None:
    class Away(LocalStore):
        def list(self, prefix: str) -> list[str]:
            raise StorageError("does not answer")

        def objects(self, prefix: str) -> Iterator[StoredObject]:
            raise StorageError("does not answer")

    away = Away(Path("/nowhere"))
    assert of(away).attempts() == []
    assert all_attempts("bake", away, first="0123") == ([], 0)


def test_a_slow_store_is_read_for_so_long_and_no_longer(store: LocalStore) -> None:
    for work in ("01", "02", "03"):
        of(store, work).claim(BAKED)
    times = iter([0.0, *[0.1] * 5, 0.2, 2.5, 9.0])  # it began; 3 were listed; what is left; it reads; 1 is read
    found, unread = all_attempts("bake", store, clock=lambda: next(times))
    assert (len(found), unread) == (1, 2)
    times = iter([0.0, 0.1, 1.1, *[2.5] * 9])
    assert all_attempts("bake", store, clock=lambda: next(times)) == ([], 2), "the listing was cut"


def test_the_same_work_is_always_read_and_then_the_newest(store: LocalStore) -> None:
    """Of more records than can be read those of the exact work come first, wherever their key is."""
    for number in range(40):
        name = of(store, f"{number:02d}").claim(replace(BAKED, run=f"run-{number}"))
        os.utime(store.root / name, (1000 - number, 1000 - number))
    found, unread = all_attempts("bake", store, first="39", most=3)
    assert [one.run for one in found] == ["run-39", "run-0", "run-1", "run-2"]
    assert unread == 36
    assert [one.run for one in all_attempts("bake", store, first="39", seconds=-1.0).attempts] == ["run-39"]


def test_hundreds_of_records_are_read_in_time_on_a_store_that_takes_40_ms(store: LocalStore) -> None:
    class Slow(LocalStore):
        def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            time.sleep(0.04)
            return super().read(name, start, length)

    for number in range(200):
        store.put_if_absent(f".costs/bake/{number:04d}/000001.json", BAKED.to_bytes())
    found, unread = all_attempts("bake", Slow(store.root))
    assert (len(found), unread) == (200, 0)


def test_a_work_is_told_by_stage_settings_and_inputs() -> None:
    works = {one.work for one in (BAKED, replace(BAKED, settings={}), replace(BAKED, inputs=()))}
    assert len(works | {work_key("cook", BAKED.settings, BAKED.inputs)}) == 4
    assert replace(BAKED, goal={"images": 4}, run="other").work == BAKED.work == work_key("bake", {"heat": 180}, ["ab"])


def test_records_by_the_output_that_they_are_of(store: LocalStore) -> None:
    """An attempt that was killed before it knew its output is of the first one, unless it was forced."""
    costs = of(store)
    early = costs.claim(BAKED)
    known = costs.claim(replace(BAKED, output="bake/ab"))
    forced = costs.claim(replace(BAKED, output="bake/ab.1", forced=True))
    costs.claim(replace(BAKED, forced=True))
    of(store, "4567").claim(BAKED)
    store.replace(of(store).claim(BAKED), b"{")
    found = {output: [one.name for one in objects] for output, objects in records_by_output(store).items()}
    assert found == {"bake/ab": [early, known], "bake/ab.1": [forced]}
