"""The account of a data set in words: its images, splits and classes, and the images left out.

The line on the terminal and the card both use these phrases.
"""

from flows.artifacts import Dataset
from infra.digests import Json

_MOST_NAMES, _LONGEST_NAMES, _LONGEST_NAME = 10, 48, 16
_SPLITS = ("train", "test")


def account_parts(dataset: Dataset, facts: Json) -> list[str]:
    """Return the parts of the stage's line, without those that have nothing to report."""
    parts = [f"{dataset.train_images:,} training and {dataset.test_images:,} held-out images"]
    if splits := splits_line(facts):
        parts.append(splits)
    parts.append(classes_line(facts))
    parts += [f"{count:,} left out ({why})" for why, count in facts["filtered"].items()]
    if facts["quarantined"]:
        parts.append(f"{facts['quarantined']:,} in quarantine")
    if facts["others"]:
        kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in facts["others"].items())
        parts.append(f"other files not read ({kinds})")
    train, test = (set(facts["classes"][split]) for split in _SPLITS)
    if train and test and not train & test:
        parts.append("train and test have no class in common")
    return [*parts, f"{dataset.levels} levels"]


def splits_line(facts: Json) -> str:
    """Return how the images were split; an empty text for data sets sealed before that was recorded."""
    if "splits_from" not in facts:
        return ""
    if facts["splits_from"]:
        return f"splits from {facts['splits_from']}"
    return f"about {facts['settings']['holdout_fraction'] * 100:g}% held out by content hash"


def classes_line(facts: Json) -> str:
    """Return the number, origin and names of the classes, or why there are none."""
    names, note = facts["class_names"], _printable(facts.get("labels_note", ""))
    if names:
        origin = f" from {facts['labels_from']}" if facts.get("labels_from") else ""
        return f"{len(names):,} classes{origin}: {_shortened(names)}" + (f" ({note})" if note else "")
    if facts["unlabelled"]:
        return f"labels ignored: {facts['unlabelled']:,} images have no class"
    return f"no classes: {note}" if note else "no classes"


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
