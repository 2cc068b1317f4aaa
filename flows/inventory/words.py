"""Sizes, times, digests and values in the few characters that a table has room for."""

import json
from datetime import UTC, datetime
from typing import Any

_LONGEST = 40
_DIGITS = 12
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def size_text(size: float) -> str:
    """Return a size in bytes with its unit, such as "12.3 MiB"."""
    for unit in _UNITS[:-1]:
        if abs(size) < _STEP:
            return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:,.1f} {_UNITS[-1]}"


def time_text(seconds: float) -> str:
    """Return a time in seconds since 1970 as a date and a time of day in UTC; empty for 0, which means unknown."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds else ""


def short_digest(digest: str) -> str:
    """Return the digits of a digest by which people tell it from others."""
    return digest[:_DIGITS]


def value_text(value: Any) -> str:  # noqa: ANN401 - the value of a setting
    """Return the value of a setting, cut short if it is long."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
