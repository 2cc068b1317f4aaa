"""The time of workers is counted while they are held, and after."""

from contextlib import suppress

from infra.compute.occupancy import Occupancy
from infra.compute.units import Workers


def test_pools_one_after_the_other_and_at_once() -> None:
    now = [0.0]
    occupancy = Occupancy(clock=lambda: now[0])
    with occupancy.of(Workers(count=2, cpus=3)):
        now[0] = 10.0
        assert occupancy.seconds() == (60.0, 0.0)
        with occupancy.of(Workers(count=4, cpus=1, gpus=1)):
            now[0] = 15.0
            assert occupancy.seconds() == (90.0 + 20.0, 20.0)
    assert occupancy.seconds() == (110.0, 20.0)
    now[0] = 1000.0
    assert occupancy.seconds() == (110.0, 20.0), "nobody is held"


def test_work_that_fails_was_paid_for() -> None:
    now = [0.0]
    occupancy = Occupancy(clock=lambda: now[0])
    with suppress(KeyboardInterrupt), occupancy.of(Workers(cpus=2)):
        now[0] = 4.0
        raise KeyboardInterrupt
    assert occupancy.seconds() == (8.0, 0.0)
