"""Durations and sizes in words, rounded before they are divided into units, so that 119.6 s is no "1 min 60 s"."""

# A unit of time in seconds, with the smaller one that follows it.
_TIMES = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def duration_text(seconds: float, digits: int = 1) -> str:
    """Return a duration in words, such as "2 h 5 min" or "3.4 s".

    Args:
        seconds: The duration, at least 0.
        digits: The number of digits after the point below a minute.
    """
    whole = round(seconds)
    if round(seconds, digits) >= _TIMES[-1][0]:
        for length, unit, smaller, smaller_unit in _TIMES:
            if whole >= length:
                return f"{whole // length} {unit} {whole % length // smaller} {smaller_unit}"
    return f"{seconds:.{digits}f} s"


def bytes_text(amount: float) -> str:
    """Return a number of bytes in words, such as "1.5 MiB"."""
    for unit in _SIZES[:-1]:
        digits = 0 if unit == _SIZES[0] else 1
        if round(amount, digits) < _STEP:
            return f"{amount:.{digits}f} {unit}"
        amount /= _STEP
    return f"{amount:,.1f} {_SIZES[-1]}"
