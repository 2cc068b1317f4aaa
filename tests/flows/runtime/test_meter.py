"""A meter measures an attempt while it goes on; whatever fails in it is no matter of the work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from flows.runtime.meter import Meter
from flows.stage import Progress
from infra.compute.occupancy import Occupancy
from infra.compute.units import Workers
from infra.errors import ConfigError, InputError, StorageError
from infra.outputs.costs import Attempt
from infra.storage.local_store import LocalStore
from tests.conftest import TinyRun

SAMPLE = Attempt(stage="sample", settings={"num_steps": 5}, inputs=("ab",), goal={"count": 24})


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Callable[..., Meter]:
    def of(**more: object) -> Meter:
        usual = {"store": LocalStore(tmp_path), "about": SAMPLE, "occupancy": Occupancy(clock=clock), "clock": clock}
        return Meter(**(usual | {"run": lambda: "digits-1a2b3c4d"} | more))

    return of


def test_an_attempt_from_begin_to_end(make: Callable[..., Meter], clock: Clock, tiny_run: TinyRun) -> None:
    meter = make(store=tiny_run.store)
    clock.now_s = 2.0
    meter.begin()
    meter.begin()
    with meter.occupancy.of(Workers(count=2, cpus=2)):
        clock.now_s = 5.0
    meter.occupancy.retries += 1
    meter.hear(Progress(done=8, total=24, start=8))
    meter.hear(Progress(done=24, total=24, start=8))
    meter.end(tiny_run.samples)
    (found,) = meter.costs.attempts()
    assert (found.run, found.outcome, found.goal) == ("digits-1a2b3c4d", "sealed", {"count": 24})
    assert (found.start, found.done, found.unit, found.amount) == (8, 24, "images", 16)
    assert (found.wall_s, found.cpu_s, found.gpu_s, found.retries) == (5.0, 12.0, 0.0, 1)
    assert f"{found.output}/manifests/count-24.json" == tiny_run.samples.name
    assert found.output_bytes > 0
    cost = meter.cost(tiny_run.samples, {"count": 24})
    assert cost is not None
    assert (cost.wall_s, cost.amount, cost.attempts) == (5.0, 16, 1)


def test_without_work_there_is_no_record(make: Callable[..., Meter], tmp_path: Path, tiny_run: TinyRun) -> None:
    meter = make()
    meter.end(tiny_run.samples)
    assert not list(tmp_path.glob(".costs/**/*.json"))
    assert meter.cost(tiny_run.samples, {}) is None


def test_a_record_is_renewed_so_that_a_kill_loses_little(make: Callable[..., Meter], clock: Clock) -> None:
    """An attempt that never ends, as after SIGKILL, leaves its last record."""
    written = threading.Event()

    class Renewed(LocalStore):
        def replace(self, name: str, data: bytes) -> None:
            super().replace(name, data)
            written.set()

    meter = make(beat_s=0.01)
    meter.store = Renewed(meter.store.root)
    meter.begin()
    clock.now_s = 7.0
    written.clear()
    assert written.wait(10)
    written.clear()
    assert written.wait(10)
    (found,) = meter.costs.attempts()
    assert (found.wall_s, found.outcome) == (7.0, "")
    meter.end(error=KeyboardInterrupt())
    (found,) = meter.costs.attempts()
    assert found.outcome == "stopped"


@pytest.mark.parametrize(("error", "outcome"), [(InputError("bad"), "failed"), (StorageError("away"), "")])
def test_a_failure(make: Callable[..., Meter], error: Exception, outcome: str) -> None:
    meter = make()
    meter.begin()
    meter.end(error=error)
    (found,) = meter.costs.attempts()
    assert found.outcome == outcome, "a store that is away is not asked again"


def test_each_pool_of_units_counts_and_images_count_once(make: Callable[..., Meter]) -> None:
    meter = make()
    for done, total in ((0, 3), (3, 3), (0, 3), (2, 3), (0, 5), (5, 5)):
        meter.hear(Progress(done=done, total=total, unit="units"))
    assert (meter.attempt().done, meter.attempt().unit) == (10, "units")
    meter = make()
    for start, done in ((640, 700), (320, 340), (320, 1280)):  # the latest checkpoint was damaged
        meter.hear(Progress(done=done, total=1280, start=start))
    assert (meter.attempt().start, meter.attempt().done) == (320, 1280)


def test_waiting_for_data_adds_up_over_groups_of_workers(make: Callable[..., Meter]) -> None:
    meter = make()
    for seconds in (1.0, 3.0, 0.5, 2.0, None):
        meter.hear(Progress(done=1, total=2, data_wait_s=seconds))
    assert meter.attempt().data_wait_s == 5.0


def test_waiting_for_another_run_costs_nothing(make: Callable[..., Meter], clock: Clock) -> None:
    @contextmanager
    def lease() -> Iterator[None]:
        clock.now_s += 60.0
        yield
        clock.now_s += 1.0

    meter = make()
    with meter.waiting(lease()):
        clock.now_s += 5.0
    with meter.waiting(nullcontext()):
        pass
    assert meter.attempt().wall_s == 6.0


def test_a_store_that_refuses_records_costs_a_warning(
    make: Callable[..., Meter], caplog: pytest.LogCaptureFixture, tiny_run: TinyRun
) -> None:
    class Full(LocalStore):
        def put_if_absent(self, name: str, data: bytes) -> bool:
            raise ConfigError("not allowed")

    meter = make()
    meter.store = Full(meter.store.root)
    meter.begin()
    meter.end(tiny_run.samples)
    assert "the cost of sample is not recorded: not allowed" in caplog.text


def test_the_cost_is_that_of_the_end_although_a_slow_store_has_an_older_record(
    make: Callable[..., Meter], clock: Clock, tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.runtime.meter._LAST_BEAT_S", 0.05)
    released = threading.Event()

    class Slow(LocalStore):
        def replace(self, name: str, data: bytes) -> None:
            assert released.wait(30)
            super().replace(name, data)

    meter = make(store=Slow(tiny_run.store.root))
    meter.begin()
    clock.now_s = 7.0
    meter.hear(Progress(done=24, total=24))
    try:
        meter.end(tiny_run.samples)
        cost = meter.cost(tiny_run.samples, {"count": 24})
    finally:
        released.set()
        meter._thread.join(30)
    assert cost is not None
    assert (cost.wall_s, cost.amount, cost.at_least) == (7.0, 24, False)
    assert cost.bytes > 0


def test_other_settings_and_inputs_are_another_work(make: Callable[..., Meter]) -> None:
    works = {
        make(about=about).costs.work
        for about in (SAMPLE, replace(SAMPLE, settings={}), replace(SAMPLE, inputs=("cd",)), replace(SAMPLE, stage="x"))
    }
    assert len(works) == 4
    meter = make()
    assert make(about=replace(SAMPLE, goal={"count": 48})).costs.work == meter.costs.work, "a goal only extends work"
    before = meter.costs.work
    meter.add_input("cd")
    meter.add_input("cd")
    assert meter.about.inputs == ("ab", "cd")
    assert meter.costs.work != before
