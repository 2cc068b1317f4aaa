"""Numbers of things by their names, in memory that does not grow with the number of names."""

from collections import Counter

# Stands for all names beyond the first; no suffix and no key of images is called so.
OTHERS = "*"
_MOST_COUNTED = 1000
_MOST_SHOWN = 12


class Tally:
    """Counts things by name: beyond a bound, those of new names together."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self._counts)

    def add(self, name: str, count: int = 1) -> None:
        """Count things of a name."""
        known = name in self._counts or len(self._counts) < _MOST_COUNTED
        self._counts[name if known else OTHERS] += count

    def few(self, most: int = _MOST_SHOWN) -> dict[str, int]:
        """Return the numbers of the most frequent names, the highest first; those of all others together come last.

        Args:
            most: How many names are told apart.
        """
        counts = self._counts.copy()
        others = counts.pop(OTHERS, 0)
        frequent = sorted(counts, key=lambda name: (-counts[name], name))[:most]
        others += counts.total() - sum(counts[name] for name in frequent)
        return {name: counts[name] for name in frequent} | ({OTHERS: others} if others else {})
