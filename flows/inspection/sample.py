"""A sample of the images of a source, prepared as a run would prepare them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from PIL import Image

from ddpm_core.network.image_size import image_sides
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.preparation import rules_of
from flows.stages.prepare.units import PartRows
from infra.outputs.images import Images
from infra.sources.decode import WHITE, decoding
from infra.sources.listing.listing import Listing, part_entries
from infra.sources.source import Content, Entry, Found, Source

# So many images are looked at, the pictures among them first, until the time ends.
MOST_IMAGES = 512
MOST_PICTURES = 64
_SECONDS = 10.0
_PICTURE_BYTES = 64 << 20
_LINES = 4096
GREY = frozenset({"1", "L", "LA", "I", "I;16", "F"})


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some images of a source, evenly spaced over its listing.

    Attributes:
        images: How many were looked at.
        formats: Their number by format and mode of pixels, such as `PNG RGB`.
        sizes: Their number by width and height.
        filtered: The number of those left out, by the reason.
        bad: The names of those that cannot be read, with the reasons.
        digests: The number of those that are not left out by the digest of their bytes.
        transparent: How many are transparent in places.
        white: The value that became white, if `max_value` could name another; 0 if it could not.
        brightest: The largest value of a pixel in the same units, to the accuracy of 8 bits.
        warnings: The number of those with whole pixels that a decoder warned of, by what it warned of.
        pictures: Some of them as the network would see them [n, c, h, w], uint8.
    """

    images: int
    formats: dict[str, int]
    sizes: dict[tuple[int, int], int]
    filtered: dict[str, int]
    bad: list[tuple[str, str]]
    digests: dict[str, int]
    transparent: int
    white: float
    brightest: float
    warnings: dict[str, int]
    pictures: Images

    @property
    def repeated(self) -> int:
        """The number that have the bytes of another."""
        return sum(self.digests.values()) - len(self.digests)

    @property
    def is_grey(self) -> bool:
        """Whether no image that could be read has colours."""
        return bool(self.formats) and all(name.split()[-1] in GREY for name in self.formats)


@dataclass
class _Watched:
    """A source that notes the format, the size, the opacity and the brightness of each image that it decodes."""

    source: Source
    formats: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    transparent: int = 0
    white: float = 0.0
    brightest: float = 0.0

    def find(self) -> Iterator[Found]:
        return self.source.find()

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        return self.source.read(entries)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        image = self.source.decode(entry, content)
        self.formats[f"{image.format or 'pixels'} {image.mode}"] += 1
        self.sizes[image.size] += 1
        self.transparent += _is_transparent(image)
        if white := image.info.get(WHITE, 0.0):
            self.white = max(self.white, white)
            self.brightest = max(self.brightest, int(np.asarray(image).max()) * white / 255)
        return image


def _is_transparent(image: Image.Image) -> bool:
    """Tell whether any pixel lets something through."""
    if not image.has_transparency_data:
        return False
    opacity = (image if image.mode in ("LA", "RGBA") else image.convert("RGBA")).getchannel("A")
    return int(np.asarray(opacity).min()) < 255


def take_sample(
    config: PrepareConfig, source: Source, listing: Listing, clock: Callable[[], float] = time.monotonic
) -> Sample:
    """Prepare images that are evenly spaced over a listing, until all of the sample or ten seconds are done.

    Args:
        config: The settings of preparation.
        source: The source.
        listing: Its listing.
        clock: Returns seconds from any origin.
    """
    watched, digests = _Watched(source), Counter[str]()
    part = PartRows(rules=replace(rules_of(config, listing), quarantine=True))
    pictures: list[Images] = []
    most_pictures = max(
        1, min(MOST_PICTURES, _PICTURE_BYTES // (prod((*image_sides(config.image_size), config.channels))))
    )
    looked, end = 0, clock() + _SECONDS
    with decoding() as warned:
        for entry, content in _contents(source, part, listing):
            part.take(watched, entry, content)
            part.warnings.update(warned.kinds())
            looked += 1
            for rows in part.rows.values():
                while rows:
                    row = rows.pop()
                    digests[row.digest] += 1
                    if len(pictures) < most_pictures:
                        pictures.append(row.pixels)
            if clock() > end:
                break
    part.filtered.pop("outside train and test", None)  # of these the listing knows all
    return Sample(
        images=looked,
        formats=dict(watched.formats.most_common()),
        sizes=dict(watched.sizes.most_common()),
        filtered=dict(part.filtered),
        bad=[(image["name"], image["reason"]) for image in part.quarantined],
        digests=dict(digests),
        transparent=watched.transparent,
        white=watched.white,
        brightest=watched.brightest,
        warnings=dict(part.warnings),
        pictures=np.stack(pictures) if pictures else np.empty((0, config.channels, 0, 0), dtype=np.uint8),
    )


def _contents(source: Source, part: PartRows, listing: Listing) -> Iterator[tuple[Entry, Content]]:
    """The entries of the sample with what is stored of each."""
    for entries in _spaced(listing):
        selected = list(part.select(entries, frozenset()))
        yield from zip(selected, source.read(selected), strict=True)


def _spaced(listing: Listing) -> Iterator[list[Entry]]:
    """The entries of the sample, in two parts: those of the pictures, and the others; each is in the listing's order.

    So that the time ends only after a look at the whole of the source.
    """
    places = np.unique(np.linspace(0, listing.count - 1, min(MOST_IMAGES, listing.count)).astype(np.int64))
    first = np.unique(np.linspace(0, len(places) - 1, min(MOST_PICTURES, len(places))).astype(np.int64))
    wanted, chosen = set(places.tolist()), set(places[first].tolist())
    entries: dict[int, Entry] = {}
    for number, lines in enumerate(listing.parts(_LINES)):
        start = number * _LINES
        here = [place for place in range(start, start + _LINES) if place in wanted]
        if here:
            stored = lines.splitlines()
            entries |= dict(zip(here, part_entries(b"\n".join(stored[place - start] for place in here)), strict=True))
    yield [entry for place, entry in entries.items() if place in chosen]
    yield [entry for place, entry in entries.items() if place not in chosen]
