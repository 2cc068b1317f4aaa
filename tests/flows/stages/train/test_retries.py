"""Reading is tried again while the store is away, for a bounded time and not past a wish to go."""

import pytest

from flows.stages.train.retries import Retries
from infra.errors import IntegrityError, StorageError


class Away:
    """A store that answers from some second on, on a clock that pauses and tries move on."""

    def __init__(self, until_s: float, try_s: float = 0.0) -> None:
        self.now_s, self.until_s, self.try_s = 0.0, until_s, try_s
        self.tries: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        assert 0 < seconds <= 0.25
        self.now_s += seconds

    def read(self) -> str:
        self.tries.append(self.now_s)
        self.now_s += self.try_s
        if self.now_s < self.until_s:
            raise StorageError("does not answer")
        return "bytes"


def retries(away: Away) -> Retries:
    return Retries("the data", 600.0, away.clock, away.pause)


@pytest.mark.parametrize("try_s", [0.0, 60.0])
def test_two_minutes_are_bridged_and_said_once(try_s: float) -> None:
    """Also if each try takes a minute, as those of S3 do."""
    away = Away(120.0, try_s)
    reads = retries(away)
    assert reads(away.read, lambda: False) == "bytes"
    assert away.tries[:2] == [0, try_s + 1]
    assert reads.trouble == ""
    assert reads.lines == [
        "the data cannot be read (does not answer); training waits, and reading is retried for 10 minutes"
    ]
    assert reads(lambda: "more", lambda: False) == "more"


def test_pauses_grow_to_half_a_minute_and_ten_minutes_are_the_end() -> None:
    away = Away(1e9)
    reads = retries(away)
    with pytest.raises(StorageError, match="does not answer"):
        reads(away.read, lambda: False)
    assert away.tries[:8] == [0, 1, 3, 7, 15, 31, 61, 91]
    assert 600 <= away.tries[-1] < 630
    assert reads.trouble == "reading the data is retried"


def test_a_wish_to_go_is_heard_within_a_pause() -> None:
    away = Away(1e9)
    assert retries(away)(away.read, lambda: away.now_s >= 20) is None
    assert away.now_s == 20


def test_other_errors_are_raised_at_once() -> None:
    def damaged() -> None:
        raise IntegrityError("differs from its digest")

    with pytest.raises(IntegrityError):
        retries(Away(0))(damaged, lambda: False)
