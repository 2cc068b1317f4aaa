"""The refusals of a listing: sources without images, with half a split, or with too many classes."""

from collections import Counter
from collections.abc import Iterable

from infra.errors import InputError, Term
from infra.sources.keys import ALL
from infra.sources.listing.folders import VALIDATION, names_both
from infra.sources.listing.left_out import LeftOut
from infra.sources.source import SPLITS
from infra.sources.tally import OTHERS, Tally

MAX_CLASSES = 100_000
_MOST_NAMED = 5
_NAMES = {"": "without a suffix", OTHERS: "others"}


def nothing_found(others: Tally, left_out: Tally, sought: str) -> InputError:
    """Return the error of a source without images, by what it holds instead and what was looked for."""
    if left_out:
        cause = f"holds no images of that key, but {_counts(left_out)}"
        return InputError(cause, item=Term.SOURCE, remedy=f"set {Term.IMAGE_KEY} to one of these")
    counts = f" (left out: {_counts(others)})" if others else ""
    return InputError(
        f"holds no images{counts} {sought}".strip(),
        item=Term.SOURCE,
        remedy=f"set it to the images, or {Term.SOURCE_KIND} to their format",
    )


def check_splits(splits: Counter[str], hidden: list[str], left_out: LeftOut) -> None:
    """Refuse one split without the other, and folders that look like splits but name none (rule 8 of the placing).

    Args:
        splits: The number of images by split.
        hidden: The folders that look like splits.
        left_out: The images left out because of their key.
    """
    given = [split for split in SPLITS if splits[split]]
    if len(given) == 1 and not splits[""]:
        _check_other_split(given[0], left_out)
    if len(given) == 1 and splits[""]:
        cause = f"puts {splits[given[0]]} images into {given[0]} and {splits['']} into neither train nor test"
    elif not given and hidden:
        cause = f"has folders called {hidden[0]} and {hidden[1]}, which give no split"
    else:
        return
    remedy = f"{Term.TAKE_NO_SPLITS} if they are none, or name the held-out images by {Term.TEST_SOURCE}"
    raise InputError(cause, item=Term.SOURCE, remedy=remedy)


def _check_other_split(given: str, left_out: LeftOut) -> None:
    """Refuse one split alone if images of the other were left out because of their key."""
    other, words = ("test", ("test", VALIDATION)) if given == "train" else ("train", ("train",))
    if keys := left_out.of_splits(*words):
        cause = f"has no image of {other} that is taken (left out by key: {_counts(keys)})"
        remedy = f"set {Term.IMAGE_KEY}={ALL} to take the images of every key, or {Term.TAKE_NO_SPLITS}"
        raise InputError(cause, item=Term.SOURCE, remedy=remedy)


def check_classes(labels: set[str]) -> None:
    """Refuse too many classes."""
    if len(labels) > MAX_CLASSES:
        raise too_many()


def too_many() -> InputError:
    """Return the error of a source with too many classes."""
    remedy = f"set {Term.LABELS}=none to train without classes"
    return InputError(f"has more than {MAX_CLASSES} classes", item=Term.SOURCE, remedy=remedy)


def check_hidden_splits(paths: Iterable[str]) -> None:
    """Refuse a/train/cat beside b/val/cat: these are meant as splits one folder further up."""
    if names_both({part for path in paths if "/" in path for part in path.split("/")}):
        raise InputError(
            "has folders called like train and test below others, so that they give no split",
            item=Term.SOURCE,
            remedy=f"{Term.TAKE_NO_SPLITS} if they are none, or name the held-out images by {Term.TEST_SOURCE}",
        )


def _counts(tally: Tally) -> str:
    return ", ".join(f"{count} {_NAMES.get(name, name)}" for name, count in tally.few(_MOST_NAMED).items())
