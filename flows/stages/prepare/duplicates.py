"""Entries whose contents occur earlier in the source, found by the digests of all contents before any is prepared."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flows.stages.prepare.layout import listing_entries
from infra.digests import sha256
from infra.errors import InputError
from infra.outputs.plan import Output
from infra.sources.source import Source

_DIGEST_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class HashTask:
    """Commits the digests of each part's contents, for finding duplicates.

    Attributes:
        output: The output to commit to.
        source: The source of the images.
        splits_given: Whether the source has splits; an image in neither is left out, and nothing is its duplicate.
    """

    output: Output
    source: Source
    splits_given: bool

    def open(self) -> Callable[[int], None]:
        """Return the function that commits one part's digests."""

        def run(unit: int) -> None:
            entries = listing_entries(self.output, unit)
            selected = [entry for entry in entries if entry.split or not self.splits_given]
            digests_by_name = {
                entry.name: bytes.fromhex(sha256(content))
                for entry, content in zip(selected, self.source.read(selected), strict=True)
                if not isinstance(content, InputError)
            }
            # Zeros, because an entry that is left out or cannot be read has no duplicates.
            digests = [digests_by_name.get(entry.name, bytes(_DIGEST_BYTES)) for entry in entries]
            self.output.commit(f"hashes/{unit:06d}", "bin", b"".join(digests), {})

        return run


def read_duplicates(output: Output) -> frozenset[str]:
    """Return the names of the entries that repeat an earlier one."""
    record = output.record("duplicates")
    assert record is not None, "duplicates were committed before any unit began"
    return frozenset(json.loads(output.read(record)))


def find_duplicates(output: Output, units: int) -> list[str]:
    """Return the names of entries whose contents occur earlier in the source, from the committed digests.

    Memory: 32 bytes per image, and twice that while sorting.
    """
    parts = []
    for unit in range(units):
        record = output.record(f"hashes/{unit:06d}")
        assert record is not None, f"digests of part {unit} were committed"
        parts.append(np.frombuffer(output.read(record), dtype=f"V{_DIGEST_BYTES}"))
    digests = np.concatenate(parts)
    _, first = np.unique(digests, return_index=True)
    repeated = np.ones(len(digests), dtype=bool)
    repeated[first] = False
    repeated &= digests != np.zeros(1, dtype=f"V{_DIGEST_BYTES}")
    names = []
    start = 0
    for unit, part in enumerate(parts):
        places = np.flatnonzero(repeated[start : start + len(part)])
        if len(places):
            entries = listing_entries(output, unit)
            names += [entries[place].name for place in places]
        start += len(part)
    return names
