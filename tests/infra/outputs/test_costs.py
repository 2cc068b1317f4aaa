"""Records of costs: one per attempt, numbered, replaced by their own attempt alone, and never in the way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import StorageError
from infra.outputs.costs import Attempt, Costs, all_attempts, parse_attempt
from infra.storage.local_store import LocalStore
from infra.storage.s3_store import S3Store
from infra.storage.store import Store

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
    assert len(all_attempts("bake", store)) == 3
    assert len(all_attempts("bake", store, most=2)) == 2
    assert all_attempts("cook", store) == []


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

    away = Away(Path("/nowhere"))
    assert of(away).attempts() == all_attempts("bake", away) == []


def test_a_slow_store_is_read_for_so_long_and_no_longer(store: LocalStore) -> None:
    for work in ("01", "02", "03"):
        of(store, work).claim(BAKED)
    times = iter([0.0, 1.0, 2.5, 9.0])
    assert len(all_attempts("bake", store, clock=lambda: next(times))) == 2
