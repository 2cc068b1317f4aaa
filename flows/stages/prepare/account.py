"""The account of a data set in words: its images, splits and classes, and the images left out.

The line on the terminal and the card both use these phrases.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from flows.artifacts import Dataset
from flows.options import in_options
from infra.digests import Json
from infra.errors import InputError
from infra.sources.tally import OTHERS

if TYPE_CHECKING:
    from flows.stages.prepare.config import PrepareConfig
    from infra.sources.listing.listing import Listing

_MOST_NAMES, _LONGEST_NAMES, _LONGEST_NAME = 10, 48, 16
_SPLITS = ("train", "test")


class HeldOutBy(StrEnum):
    """The rule by which images are held out if the source gives no splits."""

    COIN = "coin"
    ORDER = "order"
    NOTHING = "nothing"


def takes_splits(config: "PrepareConfig", listing: "Listing") -> bool:
    """Tell whether the images are split as the source says; an image that it puts into no split is left out.

    Raises:
        InputError: If no image is taken of one of two sources, because all have a key that is left out.
    """
    if config.test_sources and not listing.splits_given:
        raise InputError(
            f"holds no image that is taken (left out by key: {_by_key(listing.left_out)})",
            item="prepare.test_source" if listing.splits.get("train") else "prepare.source",
            remedy="set prepare.image_key=* to take the images of every key",
        )
    return listing.splits_given and config.use_splits


def listing_facts(config: "PrepareConfig", listing: "Listing", test_kind: str = "") -> Json:
    """Return the manifest's facts that the listing alone decides: what was read, and by which rules.

    Args:
        config: The settings.
        listing: What the source holds.
        test_kind: The kind of the held-out source; empty if there is none.
    """
    return {
        **({"test_kind": test_kind} if test_kind else {}),
        "settings": config.result_settings(),
        "class_names": listing.class_names,
        "unlabelled": listing.unlabelled,
        "labels_from": listing.labels_from,
        "labels_note": in_options(listing.labels_note),
        "splits_from": _splits_from(config, listing),
        **({"splits_note": listing.splits_note} if listing.splits_note else {}),
        "others": listing.others,
        "left_out": listing.left_out,
        **({"doubtful": listing.doubtful} if listing.doubtful else {}),
        "fit": config.shape.rule,
    }


def _splits_from(config: "PrepareConfig", listing: "Listing") -> str:
    if config.test_sources:
        return "prepare.source and prepare.test_source"
    return listing.splits_from if takes_splits(config, listing) else ""


def account_parts(dataset: Dataset, facts: Json) -> list[str]:
    """Return the parts of the stage's line, without those that have nothing to report."""
    parts = [f"{dataset.train_images:,} training and {dataset.test_images:,} held-out images"]
    if splits := splits_line(facts):
        parts.append(splits)
    parts.append(classes_line(facts))
    parts += [f"{count:,} left out ({why})" for why, count in facts["filtered"].items()]
    if facts["quarantined"]:
        parts.append(f"{facts['quarantined']:,} in quarantine")
    parts += _companions(facts)
    if facts.get("warnings"):
        parts.append(f"warnings: {', '.join(f'{count:,} {kind}' for kind, count in facts['warnings'].items())}")
    if others := others_line(facts):
        parts.append(others)
    train, test = (set(facts["classes"][split]) for split in _SPLITS)
    if train and test and not train & test:
        parts.append("train and test have no class in common")
    if kind := kind_line(facts):
        parts.append(kind)
    return [*parts, f"{dataset.levels} levels"]


def _companions(facts: Json) -> Iterator[str]:
    """Yield what became of masks and the like, and the settings that choose otherwise."""
    if facts.get("left_out"):
        yield f"{left_out_line(facts)}; prepare.image_key={other_key(facts)} takes others, * all"
    if facts.get("doubtful"):
        yield f"{doubtful_line(facts)}; prepare.image_key=plain leaves them out"


def left_out_line(facts: Json) -> str:
    """Return the images that are not those of their samples, such as masks, with the number of each key."""
    return f"other images of the samples left out ({_by_key(facts['left_out'])})"


def other_key(facts: Json) -> str:
    """Return a key whose images are left out; there must be one."""
    return _others_last(facts["left_out"])[0][0]


def by_suffix(facts: Json) -> list[str]:
    """Return the number of files that are not images for each suffix."""
    names = {"": "without a suffix", OTHERS: "others"}
    return [f"{count:,} {names.get(suffix, suffix)}" for suffix, count in _others_last(facts["others"])]


def doubtful_line(facts: Json) -> str:
    """Return the images that are taken although they look like masks of others, with the number of each key."""
    return f"some images look like masks of others ({_by_key(facts['doubtful'])})"


def splits_line(facts: Json) -> str:
    """Return how the images were split; an empty text for data sets sealed before that was recorded."""
    if "splits_from" not in facts:
        return ""
    note = f"; {_printable(facts['splits_note'])}" if facts.get("splits_note") else ""
    return f"{_split_rule(facts)}{note}"


def _split_rule(facts: Json) -> str:
    if facts["splits_from"]:
        overruled_by = "" if facts["splits_from"].startswith("prepare.") else " (prepare.use_splits)"
        return f"splits from {facts['splits_from']}{overruled_by}"
    settings = facts["settings"]
    match facts.get("held_out_by", HeldOutBy.COIN):
        case HeldOutBy.COIN:
            share = settings.get("holdout", settings.get("holdout_fraction"))
            return f"about {share * 100:g}% held out by content hash (prepare.holdout)"
        case HeldOutBy.ORDER:
            return "held out in the order of content hashes (prepare.holdout)"
        case _:
            return "no image is held out (prepare.holdout)"


def kind_line(facts: Json) -> str:
    """Return the kinds that the source and a held-out source were read as; an empty text for the digits."""
    kind = facts["settings"].get("kind", "")
    if kind in ("", "digits"):
        return ""
    held_out = facts.get("test_kind", kind)
    return f"read as {kind}" + (f", held-out images as {held_out}" if held_out != kind else "")


def classes_line(facts: Json) -> str:
    """Return the number, origin and names of the classes, or why there are none."""
    names, note = facts["class_names"], _printable(facts.get("labels_note", ""))
    if names:
        origin = f" from {facts['labels_from']}" if facts.get("labels_from") else ""
        return f"{len(names):,} classes{origin}: {_shortened(names)}" + (f" ({note})" if note else "")
    if facts["unlabelled"]:
        return f"labels ignored: {facts['unlabelled']:,} images have no class" + (f" ({note})" if note else "")
    return f"no classes: {note}" if note else "no classes"


def others_line(facts: Json) -> str:
    """Return the number of files that are not images by suffix; an empty text if there are none."""
    kinds = ", ".join(by_suffix(facts))
    return f"other files not read ({kinds})" if kinds else ""


def _others_last(counts: Json) -> list[tuple[str, int]]:
    """The counts in their order, which in a manifest is that of the names, except that rare names come last."""
    return sorted(counts.items(), key=lambda item: item[0] == OTHERS)


def _by_key(left_out: Json) -> str:
    names = ((f"{'other keys' if key == OTHERS else _printable(key)}", count) for key, count in _others_last(left_out))
    return ", ".join(f"{name}: {count:,}" for name, count in names)


def _shortened(names: list[str]) -> str:
    """Return all names if they are few and short, else the first two and the last."""
    printable = [_printable(name) for name in names]
    whole = ", ".join(printable)
    if len(printable) <= _MOST_NAMES and len(whole) <= _LONGEST_NAMES:
        return whole
    cut = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..." for name in printable]
    return ", ".join(cut) if len(cut) <= 3 else f"{cut[0]}, {cut[1]}, ... {cut[-1]}"


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name)
