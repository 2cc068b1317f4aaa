"""The images of a source, with splits and classes."""

from infra.sources.listing.listing import listed, part_entries
from infra.sources.source import Entry, Source


def placed(source: Source) -> list[Entry]:
    """Every image of a source, in order, as the preparation sees it."""
    with listed(source) as listing:
        return [entry for part in listing.parts(1000) for entry in part_entries(part)]
