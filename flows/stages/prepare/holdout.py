"""The images that are held out if the source gives no splits, and the rule that chooses them.

A share is drawn by a coin per image: an image is held out if the digest of its content falls below that share of all
digests. The coin asks no other image, so a collection that grows moves no held-out image into training. It leaves the
number to chance. If the share is no more than 2 images, or the coin leaves a split fewer, the images with the smallest
digests are held out instead, as many as the share says, and a collection that grows from there may move one of them.
Two images are held out at least, and two trained on; of fewer than 4 images a share holds out none. A count always goes
by order. Images of equal content stay in one split.

The order is that of the images that can be prepared, so these are prepared twice. Larger collections go by the coin
without a look at it: if both splits may expect 64 images, the chance that one has fewer than 2 is below 1e-25.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.stages.prepare.account import HeldOutBy
from flows.stages.prepare.duplicates import read_duplicates
from flows.stages.prepare.layout import listing_entries
from flows.stages.prepare.units import Rules, prepared_part
from infra.errors import InputError
from infra.outputs.plan import Output
from infra.sources.source import Source

_DIGEST_BYTES = 32
_FEWEST = 2
_MANY = 64


class HeldOut(NamedTuple):
    """The images that are held out if the source gives no splits.

    Attributes:
        limit: The largest digest of a content that is held out; empty for none.
        by: The rule.
    """

    limit: str
    by: HeldOutBy


NOTHING = HeldOut("", HeldOutBy.NOTHING)


def held_out_unseen(holdout: float, images: int) -> HeldOut | None:
    """Return what is held out of a collection if that needs no look at the images; None if it does.

    Args:
        holdout: A share below 1, or a count.
        images: The number of images found.
    """
    if holdout == 0 or (holdout < 1 and images < 2 * _FEWEST):
        return NOTHING
    if holdout < 1 and min(holdout, 1 - holdout) * images >= _MANY:
        return HeldOut(_coin(holdout), HeldOutBy.COIN)
    return None


def likely_rule(holdout: float, images: int) -> HeldOutBy:
    """Return the rule that a look at the images is likeliest to choose."""
    if (unseen := held_out_unseen(holdout, images)) is not None:
        return unseen.by
    is_coin = holdout < 1 and min(holdout, 1 - holdout) * images > _FEWEST
    return HeldOutBy.COIN if is_coin else HeldOutBy.ORDER


def check_count(holdout: float, images: int) -> None:
    """Refuse to hold out all images.

    Args:
        holdout: A share below 1, or a count.
        images: The number of images.

    Raises:
        InputError: If a count leaves no image to train on.
    """
    if holdout >= max(images, 1):
        raise InputError(
            f"would hold out {holdout:,.0f} of {images:,} images and leave none to train on",
            item="prepare.holdout",
            remedy="set a smaller count, or prepare.holdout=0 to train on all of them",
        )


def held_out_of(holdout: float, digests: NDArray[np.void]) -> HeldOut:
    """Return what is held out of images with these contents.

    Args:
        holdout: A share above 0 and below 1, or a count.
        digests: 32 bytes per image, dtype V32, in any order.

    Raises:
        InputError: If a count leaves no image to train on.
    """
    images, ordered = len(digests), np.sort(digests)
    if not images:  # the reason is elsewhere, such as a size that none has
        return NOTHING
    check_count(holdout, images)
    if holdout >= 1:
        return _first(int(holdout), ordered)
    if images < 2 * _FEWEST:
        return NOTHING
    limit = _coin(holdout)
    by_coin = bisect_right(ordered, bytes.fromhex(limit), key=bytes)
    if min(holdout, 1 - holdout) * images > _FEWEST and _FEWEST <= by_coin <= images - _FEWEST:
        return HeldOut(limit, HeldOutBy.COIN)
    return _first(min(max(round(holdout * images), _FEWEST), images - _FEWEST), ordered)


def _coin(share: float) -> str:
    """The largest digest that falls below a share of all digests, by its first 32 bits."""
    return f"{ceil(share * 2**32) - 1:08x}".ljust(2 * _DIGEST_BYTES, "f")


def _first(count: int, ordered: NDArray[np.void]) -> HeldOut:
    """Hold out the first digests, with those equal to the last of them, unless that leaves none to train on."""
    last = ordered[count - 1].tobytes()
    if bisect_right(ordered, last, key=bytes) < len(ordered):
        return HeldOut(last.hex(), HeldOutBy.ORDER)
    below = bisect_left(ordered, last, key=bytes)
    return HeldOut(ordered[below - 1].tobytes().hex(), HeldOutBy.ORDER) if below else NOTHING


@dataclass(frozen=True, kw_only=True)
class ContentTask:
    """Commits the digests of the contents of each part's images that can be prepared.

    Attributes:
        output: The output to commit to.
        source: The source of the images.
        rules: The rules to prepare them by.
        duplicates: Whether the output names entries to leave out as duplicates.
    """

    output: Output
    source: Source
    rules: Rules
    duplicates: bool

    def open(self) -> Callable[[int], None]:
        """Return the function that commits one part's digests."""
        duplicates = read_duplicates(self.output) if self.duplicates else frozenset[str]()

        def run(unit: int) -> None:
            part = prepared_part(self.source, self.rules, listing_entries(self.output, unit), duplicates)
            digests = [bytes.fromhex(row.digest) for rows in part.rows.values() for row in rows]
            self.output.commit(contents_name(unit), "bin", b"".join(digests), {})

        return run


def contents_name(unit: int) -> str:
    """Return the name of the digests of one part's contents in the output."""
    return f"contents/{unit:06d}"


def read_contents(output: Output, units: int) -> NDArray[np.void]:
    """Return the committed digests of all parts, dtype V32; 32 bytes per image are in memory."""
    parts = []
    for unit in range(units):
        record = output.record(contents_name(unit))
        assert record is not None, f"digests of part {unit} were committed"
        parts.append(output.read(record))
    return np.frombuffer(b"".join(parts), dtype=f"V{_DIGEST_BYTES}")
