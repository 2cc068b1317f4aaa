"""The settings that would change what becomes of the images of an inspection."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ddpm_core.network.image_size import image_sides
from flows.inspection.sample import Sample
from flows.stages.prepare.account import HeldOutBy, other_key
from flows.stages.prepare.config import Fit, PrepareConfig, ResizeFilter
from infra.digests import Json
from infra.sources.reading import AUTO
from infra.sources.recognition.marks import NOUNS
from infra.sources.recognition.recognition import BESIDE

_LARGEST_SIZE = 1024
_SMALLEST_SIZE = 4
# A picture this many times as large as the network's would lose most of its pixels.
_MUCH_LARGER = 2
# An image whose sides differ so much more than the network's loses over a fifth to the cut.
_LONG = 1.3
# The share of such images that calls for another fit.
_MANY = 0.5
_EIGHT_BITS = 255
_WHITES = [(1 << bits) - 1 for bits in range(1, 65)]
# Images whose brightest value is at most this part of white come out dark.
_DARK = 4
# The settings that a note on the classes may name.
_OTHER_CLASSES = {
    "prepare.labels=folder": "take the names of folders as classes",
    "prepare.label_depth=0": "take whole paths of folders as classes",
}


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A setting that would change what becomes of the images.

    Attributes:
        setting: The setting with a value, as `--set` takes it.
        effect: What it would do.
    """

    setting: str
    effect: str


def advice_on(config: PrepareConfig, why: str, facts: Json, sample: Sample) -> list[Advice]:
    """Return the settings that would change what becomes of these images.

    Args:
        config: The settings, with the kind that was found.
        why: What told the kind; empty if the user named it.
        facts: What the manifest would say of the listing.
        sample: A look at some of the images.
    """
    found = (
        *_other_files(why),
        *_other_splits(config, facts),
        *_other_images(facts),
        *_other_classes(config, facts),
        *_other_sizes(config, sample),
        *_whole_images(config, sample),
        *_other_pixels(config, sample),
        *_fewer_images(config, sample),
    )
    return [Advice(setting=setting, effect=effect) for setting, effect in found]


def shorter_sides(config: PrepareConfig, sample: Sample) -> list[int]:
    """Return the shorter side of each image of the sample that is not left out as too small, in ascending order."""
    sides = sorted(min(size) for size, count in sample.sizes.items() for _ in range(count))
    return [side for side in sides if side >= config.min_side]


def fitting_white(config: PrepareConfig, sample: Sample) -> int:
    """Return the value of the fewest bits that no pixel of a dark sample exceeds; 0 if it is not dark."""
    if config.max_value or not sample.brightest:
        return 0
    # Pixels are known to 8 bits only: 4095 of 65535 is 15.9 of 255, and thus 16.
    scale = _EIGHT_BITS / sample.white
    white = next(white for white in _WHITES if round(white * scale) >= round(sample.brightest * scale))
    return white if _DARK * white <= sample.white else 0


def _other_files(why: str) -> Iterator[tuple[str, str]]:
    beside = why.partition(BESIDE)[2]
    for kind, noun in NOUNS.items():
        if re.search(rf"\b{re.escape(noun)}s?\b", beside):
            yield f"prepare.kind={kind}", f"take the {noun}s instead"


def _other_splits(config: PrepareConfig, facts: Json) -> Iterator[tuple[str, str]]:
    if facts["splits_from"] and not config.test_sources:
        yield "prepare.use_splits=false", "take no splits from the source"
    if facts.get("held_out_by", HeldOutBy.NOTHING) != HeldOutBy.NOTHING:
        yield "prepare.holdout=0", "train on all images; without held-out ones there is no bound"


def _other_images(facts: Json) -> Iterator[tuple[str, str]]:
    if facts["left_out"]:
        yield f"prepare.image_key={other_key(facts)}", "take other images of the samples"
        yield "prepare.image_key=*", "take all images of the samples"
    if facts.get("doubtful"):
        yield "prepare.image_key=plain", "leave out images that look like masks of others"


def _other_classes(config: PrepareConfig, facts: Json) -> Iterator[tuple[str, str]]:
    for setting, effect in _OTHER_CLASSES.items():
        if setting in facts["labels_note"]:
            yield setting, effect
    if facts["class_names"] and config.labels == AUTO:
        yield "prepare.labels=none", "train without classes"


def _other_sizes(config: PrepareConfig, sample: Sample) -> Iterator[tuple[str, str]]:
    sides, size = shorter_sides(config, sample), min(image_sides(config.image_size))
    if sides:
        middle = sides[len(sides) // 2]
        fitting = min(max(2 ** int(math.log2(middle)), _SMALLEST_SIZE), _LARGEST_SIZE)
        if middle >= _MUCH_LARGER * size or middle < size:
            effect = "keep more of their pixels" if middle > size else "enlarge none or fewer of them"
            yield f"prepare.image_size={fitting}", effect


def _whole_images(config: PrepareConfig, sample: Sample) -> Iterator[tuple[str, str]]:
    if config.fit != Fit.CROP or config.resize_filter == ResizeFilter.NONE:
        return
    height, width = image_sides(config.image_size)
    cut = 0
    for (wide, high), count in sample.sizes.items():
        short, long = sorted((wide * height, high * width))
        cut += count * (min(wide, high) >= config.min_side and long >= _LONG * short)
    if cut and cut >= _MANY * len(shorter_sides(config, sample)):
        yield f"prepare.fit={Fit.PAD}", f"keep whole images, on black: {cut:,} of the sample lose a fifth or more"
        yield f"prepare.fit={Fit.STRETCH}", "keep whole images, distorted"


def _other_pixels(config: PrepareConfig, sample: Sample) -> Iterator[tuple[str, str]]:
    if white := fitting_white(config, sample):
        yield f"prepare.max_value={white}", "make that value white: no image of the sample has a larger one"
    if sample.transparent and config.channels != 4:
        yield "prepare.channels=4", f"keep the opacity: {sample.transparent:,} of the sample are transparent in places"
    elif sample.is_grey and not sample.transparent and config.channels != 1:
        yield "prepare.channels=1", "train on grey images: all of the sample are grey"


def _fewer_images(config: PrepareConfig, sample: Sample) -> Iterator[tuple[str, str]]:
    sides, size = shorter_sides(config, sample), min(image_sides(config.image_size))
    if sample.bad and config.on_bad_image == "fail":
        yield "prepare.on_bad_image=quarantine", "set images aside that cannot be read"
    if sample.repeated and not config.drop_duplicates:
        yield "prepare.drop_duplicates=true", "leave out images that occur again"
    if sides and sides[0] < size and config.min_side < size:
        yield f"prepare.min_side={size}", "leave out images that would be enlarged"
