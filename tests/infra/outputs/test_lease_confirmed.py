"""A holder that stood still confirms its lease before it goes on, or learns that it is lost."""

import pytest

from infra.errors import ConflictError
from infra.outputs import lease as lease_module
from infra.outputs.lease import held
from infra.storage.local_store import LocalStore
from tests.faults.leases import NAME, Hooked, holder, never, number


def test_a_holder_that_stood_still_confirms_its_lease_or_learns_that_it_is_lost(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By either clock: one stands still while the machine sleeps."""
    clocks = [0.0, 0.0]
    monkeypatch.setattr(lease_module, "_instants", lambda: tuple(clocks))
    with held(store, NAME, holder("prune"), on_wait=never, beat_s=60, warn=False) as lease:
        lease.confirm()
        assert store.list(NAME) == [number(1)], "it was fresh"
        for clock in (0, 1):
            clocks[clock] += 20
            lease.confirm()
            assert store.list(NAME) == [number(2 + clock)]
        store.delete(number(3))  # as a run that took it for ended
        clocks[1] += 20
        for _ in range(2):
            with pytest.raises(ConflictError, match=r"^prune, process \d+: stood still") as caught:
                lease.confirm()
        assert caught.value.exit_code == 5
        assert store.list(NAME) == []
    assert caplog.records == []


def test_a_lease_that_is_forgotten_while_it_is_renewed_is_lost(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its own object and the put of the next one."""
    clocks = [0.0, 0.0]
    monkeypatch.setattr(lease_module, "_instants", lambda: tuple(clocks))
    hooked = Hooked(store)
    with held(hooked, NAME, holder("prune"), on_wait=never, beat_s=60, warn=False) as lease:
        hooked.before_put = lambda: store.delete(number(1))
        clocks[0] += 20
        with pytest.raises(ConflictError):
            lease.confirm()
    assert store.list(NAME) == []
