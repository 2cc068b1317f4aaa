"""Times, digests and values in the few characters that a table has room for."""

import json
from datetime import UTC, datetime
from typing import Any

_LONGEST = 40
_DIGITS = 12


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
