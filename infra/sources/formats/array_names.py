"""The words in the name of an array: whether it holds images or labels, of which split, and what it goes with."""

import re
from dataclasses import dataclass

IMAGES, LABELS = "images", "labels"
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_IMAGE_WORDS = ("images", "image", "imgs", "img", "x", "data", "pixels")
_LABEL_WORDS = ("labels", "label", "y", "targets", "target", "classes")
_NAMES_OF_CLASSES = {"classes", "names"}
# A new word begins at a capital after a small letter (trainX), and after an x or y that a split follows (xtrain).
_BETWEEN = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])")
_GLUED = re.compile(r"([xy])(train|training|val|valid|validation|test|testing)")


@dataclass(frozen=True)
class ArrayName:
    """The meaning of an array's name.

    Attributes:
        role: `images`, `labels`, or empty if no word says so.
        split: `train`, `val`, `test` or empty.
        words: All words but that of the role, in lower case.
        all_words: All words.
    """

    role: str
    split: str
    words: tuple[str, ...]
    all_words: tuple[str, ...]

    def labels(self, images: "ArrayName") -> bool:
        """Tell whether these labels are of those images, as are y_train of X_train and a-labels of a."""
        return self.words in (images.words, images.all_words)

    @property
    def may_name_classes(self) -> bool:
        """Whether these labels may be the names of the classes instead, so that any others come before them."""
        return not _NAMES_OF_CLASSES.isdisjoint(self.all_words)

    @property
    def rank(self) -> tuple[int, int]:
        """The place of these images among others of their split: few words first, then the usual words for images."""
        places = [place for place, word in enumerate(_IMAGE_WORDS) if word in self.all_words]
        return len(self.words), min(places, default=len(_IMAGE_WORDS))


def array_name(name: str) -> ArrayName:
    """Read the words of a name: that of a file without folders and suffix, or of a key.

    The role is the last word or the first, not counting words for a split. Words for labels come before those for
    images, so `data-labels` are labels.
    """
    words: list[str] = []
    for word in _BETWEEN.split(name):
        glued = _GLUED.fullmatch(word.lower())
        words += [*glued.groups()] if glued else [word.lower()] if word else []
    split = next((_SPLITS[word] for word in words if word in _SPLITS), "")
    ends = [place for place, word in enumerate(words) if word not in _SPLITS]
    all_words = tuple(_SPLITS.get(word, word) for word in words)
    for role, known in ((LABELS, _LABEL_WORDS), (IMAGES, _IMAGE_WORDS)):
        for place in ends[-1:] + ends[:1]:
            if words[place] in known:
                return ArrayName(role, split, all_words[:place] + all_words[place + 1 :], all_words)
    return ArrayName("", split, all_words, all_words)
