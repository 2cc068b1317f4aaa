"""Beats reach the driver, the wish to stop reaches the work, and an interrupted driver waits as long as it may."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.compute.heartbeat import LocalHeartbeat, Pulse, Watch


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


class TestPulse:
    def test_beats_come_at_once_in_time_and_at_the_end(self) -> None:
        beats: list[dict[str, Any]] = []
        step = itertools.count()
        with Pulse(lambda about: bool(beats.append(about)), lambda: {"step": next(step)}, every_s=0.05):
            wait_for(lambda: len(beats) >= 3)
            before = len(beats)
        assert [beat["step"] for beat in beats] == list(range(len(beats)))
        assert len(beats) > before, "the end has a beat of its own"

    def test_a_new_account_is_sent_at_once(self) -> None:
        beats: list[str] = []
        with Pulse(lambda about: bool(beats.append(about["of"])), lambda: {"of": "loading"}, every_s=60) as pulse:
            wait_for(lambda: beats == ["loading"])
            pulse.tell(lambda: {"of": "work"})
            wait_for(lambda: beats == ["loading", "work"])

    def test_a_wish_to_stop_stays(self) -> None:
        replies = iter([False, True])
        with Pulse(lambda _: next(replies, False), every_s=0.02) as pulse:
            wait_for(lambda: pulse.stop)
            time.sleep(0.1)
            assert pulse.stop

    def test_neither_a_failing_nor_a_hanging_beat_holds_the_work(self) -> None:
        def fail(_: dict[str, Any]) -> bool:
            failures.append(1)
            raise TimeoutError("the driver is away")

        failures: list[int] = []
        with Pulse(fail, every_s=0.02) as pulse:
            wait_for(lambda: len(failures) > 2)
            assert not pulse.stop
        release = threading.Event()
        started = time.monotonic()
        with Pulse(lambda _: release.wait(60)) as pulse:
            pulse.tell(dict)
            assert not pulse.stop
            assert time.monotonic() - started < 30
            release.set()

    def test_without_a_listener_there_is_no_thread(self) -> None:
        before = threading.active_count()
        with Pulse() as pulse:
            pulse.tell(dict)
            assert threading.active_count() == before
            assert not pulse.stop


class Group:
    """Work in this process that a test looks at."""

    def __init__(self, *, listens: bool = True, about: dict[str, Any] | None = None, beats: bool = True) -> None:
        self.heartbeat = LocalHeartbeat()
        self.release = threading.Event()
        self.saved = False
        self.listens, self.about, self.beats = listens, about or {}, beats

    def work(self) -> None:
        stop = False
        for step in itertools.count(1):
            if self.beats:
                stop = self.heartbeat.beat({"step": step} | self.about)
            if (stop and self.listens) or self.release.wait(0.01):
                break
        self.saved = True
        self.heartbeat.beat({"step": step, "saved": True})

    def follow(self, on_poll: Callable[[], int], grace_s: float = 10.0, **more: Any) -> None:
        Watch(heartbeat=self.heartbeat, on_poll=on_poll, grace_s=grace_s, **more).follow(self.work)


class Signal(BaseException):
    """As Prefect's and the command line's own."""


def after(polls: int, error: BaseException) -> Callable[[], int]:
    count = itertools.count(1)

    def poll() -> int:
        if next(count) >= polls:
            raise error
        return 0

    return poll


class TestWatch:
    def test_the_last_beat_is_heard_and_the_last_state_polled(self) -> None:
        heartbeat, heard, polled = LocalHeartbeat(), [], []
        watch = Watch(heartbeat=heartbeat, on_poll=lambda: len(polled), on_beat=heard.append)
        watch.follow(lambda: polled.append(heartbeat.beat({"step": 1})))
        assert heard == [{"step": 1}], "once each"

    def test_an_error_of_the_work_is_raised_here(self) -> None:
        def fail() -> None:
            raise ValueError("from the work")

        with pytest.raises(ValueError, match="from the work"):
            Watch(heartbeat=LocalHeartbeat(), on_poll=lambda: 0).follow(fail)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Signal, RuntimeError])
    def test_an_interrupted_group_saves_and_the_same_is_raised(self, kind: type[BaseException]) -> None:
        group, heard, interrupt = Group(), [], kind("now")
        with pytest.raises(kind) as caught:
            group.follow(after(2, interrupt), on_beat=heard.append)
        assert caught.value is interrupt
        assert group.saved
        assert heard[-1]["saved"], "the driver knows what was kept"

    def test_what_interrupts_again_and_again_does_not_shorten_the_grace(self) -> None:
        """A listener that raises each time it is called, since the run is no longer to run."""
        group = Group()
        with pytest.raises(Signal):
            group.follow(lambda: 0, on_beat=lambda _: after(1, Signal())())
        assert group.saved

    def test_a_group_that_does_not_listen_is_left_after_the_grace(self) -> None:
        group = Group(listens=False)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            group.follow(after(1, KeyboardInterrupt()), grace_s=0.5)
        assert 0.5 <= time.monotonic() - started < 15
        assert not group.saved
        group.release.set()

    @pytest.mark.parametrize("how", [{"beats": False}, {"about": {"starting": True}}], ids=str)
    def test_a_group_that_is_still_starting_is_not_waited_for(self, how: dict[str, Any]) -> None:
        group = Group(listens=False, **how)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            group.follow(after(1, KeyboardInterrupt()), grace_s=30)
        assert time.monotonic() - started < 15
        assert group.heartbeat.beat({}), "should it begin after all, it ends at its first step"
        group.release.set()

    def test_a_signal_while_the_driver_waits(self, alarm: Callable[..., None]) -> None:
        group = Group()
        alarm(0.1)
        with pytest.raises(Signal):
            group.follow(lambda: 0)
        assert group.saved

    def test_a_second_signal_ends_the_grace(self, alarm: Callable[..., None]) -> None:
        group = Group(listens=False)
        alarm(0.1, 0.5)
        started = time.monotonic()
        with pytest.raises(Signal):
            group.follow(lambda: 0, grace_s=30)
        assert 0.5 < time.monotonic() - started < 15
        group.release.set()


@pytest.fixture
def alarm() -> Iterator[Callable[..., None]]:
    """Have signals raise in this thread, the first after some seconds, others as often."""

    def interrupt(*_: object) -> None:
        raise Signal

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda first_s, again_s=0.0: signal.setitimer(signal.ITIMER_REAL, first_s, again_s)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
