"""Leases on S3: the same rules as on a disk."""

import contextlib

from infra.outputs.lease import held
from infra.storage.s3_store import S3Store
from tests.faults.leases import NAME, FakeTime, await_true, elsewhere, ended, holder, never, number


def test_on_s3_the_second_waits_for_the_first(moto_store: S3Store) -> None:
    lines: list[str] = []
    with contextlib.ExitStack() as first:
        first.enter_context(held(moto_store, NAME, holder("first"), on_wait=never, beat_s=0.05))
        await_true(lambda: min(moto_store.list(NAME), default="") >= number(3))

        def told(line: str) -> None:
            lines.append(line)
            first.close()

        with held(moto_store, NAME, holder("second"), on_wait=told, expiry_s=600):
            assert [line.split()[0] for line in lines] == ["first"]
    assert moto_store.list(NAME) == []


def test_on_s3_an_ended_holder_is_followed_at_once_and_a_far_one_after_its_time(moto_store: S3Store) -> None:
    moto_store.put_if_absent(number(5), ended().to_bytes())
    with held(moto_store, NAME, holder(), on_wait=never):
        assert moto_store.list(NAME) == [number(6)]
    moto_store.put_if_absent(number(5), elsewhere().to_bytes())
    fake = FakeTime()
    with held(moto_store, NAME, holder(), on_wait=len, clock=fake.clock, sleep=fake.sleep):
        assert 1030 <= fake.now <= 1032
    assert moto_store.list(NAME) == []
