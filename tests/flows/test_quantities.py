"""Durations and sizes in words never show a unit as often as makes the next one."""

import re

import pytest

from flows.quantities import bytes_text, duration_text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (3.21, "3.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (59.97, "1 min 0 s"),
        (75, "1 min 15 s"),
        (119.6, "2 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86_399.7, "1 d 0 h"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.5, "1 min 0 s")])
def test_a_duration_in_whole_seconds(seconds: float, words: str) -> None:
    assert duration_text(seconds, digits=0) == words


def test_no_duration_has_sixty_of_a_unit() -> None:
    for tenths in range(0, 72_200, 1):
        assert not re.search(r"\b60(\.0)? (s|min)", duration_text(tenths / 10)), tenths


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1023.6, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 40, "5.0 TiB"),
        (3 << 50, "3,072.0 TiB"),
    ],
)
def test_sizes(amount: float, words: str) -> None:
    assert bytes_text(amount) == words
