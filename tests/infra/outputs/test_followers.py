"""Runs that follow one job: whoever leaves knows whether others stay, also after kills and elsewhere."""

import os
import time

from infra.outputs.followers import followers, following
from infra.outputs.presence import LEASES
from infra.storage.local_store import LocalStore
from tests.faults.leases import elsewhere, ended, holder, never

JOB = "ddpm-train-1a2b-1"


def announce(store: LocalStore, who: object, job: str = JOB) -> str:
    """Leave the announcement of a run that gives no further sign."""
    name = f"{LEASES}/jobs/{job}/{who.token}/{7:012}.json"  # type: ignore[attr-defined] # a holder
    store.put_if_absent(name, who.to_bytes())  # type: ignore[attr-defined] # a holder
    return name


def test_runs_that_follow_a_job_are_seen_until_they_leave(store: LocalStore) -> None:
    with following(store, JOB, holder("digits"), on_wait=never):
        with following(store, JOB, holder("photos"), on_wait=never):
            assert {line.split()[0] for line in followers(store, JOB, holder())} == {"digits", "photos"}
        assert [line.split()[0] for line in followers(store, JOB, holder())] == ["digits"]
        assert followers(store, "ddpm-train-1a2b-2", holder()) == []
    assert followers(store, JOB, holder()) == []
    assert store.list(LEASES) == []


def test_a_killed_run_follows_nothing(store: LocalStore) -> None:
    announce(store, ended())
    assert followers(store, JOB, holder()) == []


def test_a_run_elsewhere_counts_while_it_gives_signs_by_the_stores_clock(store: LocalStore) -> None:
    name = announce(store, elsewhere())
    assert len(followers(store, JOB, holder())) == 1
    then = time.time() - 40
    os.utime(store.root / name, (then, then))
    assert followers(store, JOB, holder()) == []
