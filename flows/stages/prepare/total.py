"""The sum over all units of the preparation: the account of every entry, and the distribution of pixel values."""

from collections import Counter
from collections.abc import Iterable

from infra.digests import Json
from infra.sources.source import SPLITS


class Total:
    """The sum over all units.

    Attributes:
        read: Entries.
        written: Images by split.
        filtered: Entries left out, by reason.
        classes: Images by split and class number.
        quarantined: A record of each bad image.
        warnings: Images with whole pixels that a decoder warned of, by what it warned of.
    """

    def __init__(self, channels: int) -> None:
        self.read = 0
        self.written: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.classes: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.quarantined: list[Json] = []
        self.warnings: Counter[str] = Counter()
        self._histogram = [[0] * 256 for _ in range(channels)]

    def add(self, part: Json) -> None:
        """Add the account of one unit."""
        self.read += part["read"]
        self.written.update(part["written"])
        self.filtered.update(part["filtered"])
        self.quarantined += part["quarantined"]
        self.warnings.update(part.get("warnings", {}))  # a unit that an earlier version made counts none
        for split, counts in part["classes"].items():
            self.classes[split].update(counts)
        for total, counts in zip(self._histogram, part["histogram"], strict=True):
            total[:] = [so_far + count for so_far, count in zip(total, counts, strict=True)]

    def facts(self) -> Json:
        """Return the manifest's facts about the whole; means and deviations are per channel, of values 0..255."""
        occurs = [any(counts) for counts in zip(*self._histogram, strict=True)]
        moments = [_moments(counts) for counts in self._histogram]
        return {
            "read": self.read,
            "images": {split: self.written[split] for split in SPLITS},
            "filtered": dict(sorted(self.filtered.items())),
            "quarantined": len(self.quarantined),
            "warnings": dict(sorted(self.warnings.items())),
            "classes": {split: _by_number(counts) for split, counts in self.classes.items()},
            "levels": sum(occurs),
            "histogram": self._histogram,
            "mean": [mean for mean, _ in moments],
            "std": [std for _, std in moments],
        }


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation of values 0..255 with these counts; the sums are exact integers."""
    n = max(sum(counts), 1)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    return first / n, ((second * n - first * first) / (n * n)) ** 0.5


def _by_number(counts: Iterable[str] | Counter[str]) -> dict[str, int]:
    tally = Counter(counts)
    return {label: tally[label] for label in sorted(tally, key=int) if int(label) >= 0}
