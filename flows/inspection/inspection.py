"""A look at a source of images: the outcome of preparing it, before anything is written."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ddpm_core.network.image_size import image_sides
from flows.inspection.advice import Advice, advice_on, fitting_white, shorter_sides
from flows.inspection.sample import Sample, take_sample
from flows.stages.prepare.account import (
    HeldOutBy,
    classes_line,
    doubtful_line,
    left_out_line,
    listing_facts,
    others_line,
    splits_line,
)
from flows.stages.prepare.config import PrepareConfig
from flows.stages.prepare.holdout import check_count, held_out_of, held_out_unseen, likely_rule
from flows.stages.prepare.sources import open_source
from infra.digests import Json
from infra.sources.listing.listing import listed
from infra.sources.source import SPLITS, Content, Entry, Found, Source

_SIZES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The outcome of preparing a source of images.

    Attributes:
        config: The settings, with the kind that was found.
        why: What told the kind; empty if the user named it.
        images: How many images there are.
        splits: Their number by the split that the source gives; the empty key counts those in none.
        classes: Their number by class and split, for the splits that count; without those that have no class.
        facts: What the manifest would say of the listing.
        sample: A look at some of them.
        test_kind: The kind of the held-out source; empty if there is none.
        test_why: What told that kind, in words; empty if the user named it.
    """

    config: PrepareConfig
    why: str
    images: int
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    facts: Json
    sample: Sample
    test_kind: str = ""
    test_why: str = ""

    @property
    def kind_line(self) -> str:
        """The kind, and what told it, of both sources if there is a held-out one."""
        return "; held-out images ".join(
            f"{kind}: {why}" if why else f"{kind}, by prepare.kind"
            for kind, why in ((self.config.kind, self.why), (self.test_kind, self.test_why))
            if kind
        )

    @property
    def splits_line(self) -> str:
        """The rule of the splits, and the number of images in each if the source gives them."""
        counts = ", ".join(f"{self.splits.get(split, 0):,} {split}" for split in SPLITS)
        line = splits_line(self.facts).removeprefix("splits ")
        return f"{line}: {counts}" if self.facts["splits_from"] else line

    @property
    def classes_line(self) -> str:
        """The classes and their origin, or why there are none."""
        return classes_line(self.facts)

    @property
    def left_out(self) -> list[str]:
        """The files and images that would be left out, with the reasons."""
        outside = self.splits.get("", 0) if self.facts["splits_from"] else 0
        lines = [f"{outside:,} outside train and test"] if outside else []
        lines += [left_out_line(self.facts)] if self.facts["left_out"] else []
        lines += [line for line in [others_line(self.facts)] if line]
        return lines + [f"{count:,} of the sample ({reason})" for reason, count in self.sample.filtered.items()]

    @property
    def sizes_line(self) -> str:
        """The sizes of the sample's images."""
        sizes = self.sample.sizes
        if len(sizes) <= _SIZES_SHOWN:
            return ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in sizes.items())
        sides = sorted((width * height, width, height) for width, height in sizes)
        (_, *small), (_, *large) = sides[0], sides[-1]
        usual, count = next(iter(sizes.items()))
        shapes = f"{len(sizes):,} sizes from {small[0]}x{small[1]} to {large[0]}x{large[1]}"
        return f"{shapes}, most often {usual[0]}x{usual[1]} ({count:,})"

    @property
    def advice(self) -> list[Advice]:
        """The settings that would change what becomes of these images."""
        return advice_on(self.config, self.why, self.facts, self.sample)

    @property
    def warnings(self) -> list[str]:
        """Warnings of what may be meant otherwise, or would end the run."""
        sample, size, lines = self.sample, min(image_sides(self.config.image_size)), []
        if sample.bad:
            name, reason = sample.bad[0]
            end = "ends the run" if self.config.on_bad_image == "fail" else "goes into quarantine"
            lines.append(f"{len(sample.bad):,} of the sample: cannot be read, which {end} ({name}: {reason})")
        smaller = sum(side < size for side in shorter_sides(self.config, sample))
        if smaller:
            lines.append(f"{smaller:,} of the sample: smaller than {size} pixels, so enlarged")
        lines += [f"{count:,} of the sample: {kind}; the pixels are whole" for kind, count in sample.warnings.items()]
        if self.facts.get("doubtful"):
            lines.append(doubtful_line(self.facts))
        if fitting_white(self.config, sample):
            share = 100 * sample.brightest / sample.white
            lines.append(f"all of the sample are dark: their largest value is {share:.0f}% of white")
        if sample.repeated:
            lines.append(f"{sample.repeated:,} of the sample: byte for byte another one")
        in_both = [all(counts.get(split) for split in SPLITS) for counts in self.classes.values()]
        if self.facts["splits_from"] and self.classes and not any(in_both):
            lines.append("train and test have no class in common")
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON values."""
        sizes = [{"width": width, "height": height, "images": n} for (width, height), n in self.sample.sizes.items()]
        return {
            "source": list(self.config.sources),
            "test_source": list(self.config.test_sources),
            "kind": self.config.kind,
            "kind_from": self.why,
            "test_kind": self.test_kind,
            "test_kind_from": self.test_why,
            "images": self.images,
            "splits": self.splits,
            "splits_from": self.splits_line,
            "classes": self.classes,
            "classes_from": self.classes_line,
            "others": self.facts["others"],
            "left_out": self.left_out,
            "sample": {
                "images": self.sample.images,
                "formats": self.sample.formats,
                "sizes": sizes,
                "left_out": self.sample.filtered,
                "bad": [{"name": name, "reason": reason} for name, reason in self.sample.bad],
                "repeated": self.sample.repeated,
            },
            "fit": self.facts["fit"],
            "warnings": self.warnings,
            "settings": {one.setting: one.effect for one in self.advice},
        }


@dataclass
class _Counting:
    """A source that reports how many images it found so far."""

    source: Source
    on_found: Callable[[int], None]
    every: ClassVar[int] = 1000

    def find(self) -> Iterator[Found]:
        for number, found in enumerate(self.source.find(), start=1):
            if number % self.every == 0:
                self.on_found(number)
            yield found

    def read(self, entries: Sequence[Entry]) -> Iterator[Content]:
        return self.source.read(entries)

    def decode(self, entry: Entry, content: bytes) -> Image.Image:
        return self.source.decode(entry, content)


def inspect_source(config: PrepareConfig, on_found: Callable[[int], None]) -> Inspection:
    """Look at a source as the preparation would; nothing is written.

    Args:
        config: The settings of preparation.
        on_found: Receives the number of files and images that were listed so far, now and then.

    Raises:
        DdpmError: If a run would refuse the source when it lists it, with the same error.
    """
    opened = open_source(config)
    config, source = opened.config, opened.source
    with listed(_Counting(source, on_found), config.reading, opened.sought) as listing:
        facts = listing_facts(config, listing, opened.test_kind)
        if not facts["splits_from"]:
            check_count(config.holdout, listing.count)
        sample = take_sample(config, source, listing)
        if not facts["splits_from"]:
            facts["held_out_by"] = _rule(config, listing.count, sample).value
        splits = SPLITS if facts["splits_from"] else tuple(listing.splits)
        classes: dict[str, dict[str, int]] = {name: {} for name in facts["class_names"]}
        for (split, label), count in listing.cells.items():
            if split in splits and label in classes:
                classes[label][split] = classes[label].get(split, 0) + count
        return Inspection(
            config=config,
            why=opened.why,
            test_kind=opened.test_kind,
            test_why=opened.test_why,
            images=listing.count,
            splits=listing.splits,
            classes=classes,
            facts=facts,
            sample=sample,
        )


def _rule(config: PrepareConfig, images: int, sample: Sample) -> HeldOutBy:
    """The rule of what is held out; the likeliest, if that needs a look at more images than the sample has."""
    if sample.images < images or held_out_unseen(config.holdout, images) is not None:
        return likely_rule(config.holdout, images)
    counts = Counter(sample.digests)
    digests = list(counts) if config.drop_duplicates else list(counts.elements())
    return held_out_of(config.holdout, np.frombuffer(bytes.fromhex("".join(digests)), dtype="V32")).by
