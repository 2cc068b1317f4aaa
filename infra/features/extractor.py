"""Kinds of feature extractors: opening one and, if it learns from the data, fitting it first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from infra.features.weights_file import WeightsFile

# The layer that distances compare unless they name another.
FEATURES = "features"

# uint8 images [n, c, h, w] -> float32 features [n, d] by layer, `FEATURES` among them.
Extractor = Callable[[Tensor], Mapping[str, Tensor]]


def only_features(function: Callable[[Tensor], Tensor]) -> Extractor:
    """Return the extractor with one layer, which the function computes from uint8 images [n, c, h, w]."""
    return lambda images: {FEATURES: function(images)}


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images with their labels.

    Attributes:
        images: uint8 [n, c, h, w].
        labels: int64 [n], 0..classes-1.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted extractor, in the form in which it is sealed.

    Attributes:
        weights: Tensors by name.
        shape: The numbers that the network is built from.
        accuracy: Of the fit on held-out images; None if there are none.
    """

    weights: dict[str, Tensor]
    shape: dict[str, Any]
    accuracy: "Accuracy | None"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The number of held-out images that a classifier gets right.

    Attributes:
        right: Images that it classifies correctly.
        images: All of them.
        largest_class: Those of the most frequent class, which a constant answer gets right.
    """

    right: int
    images: int
    largest_class: int

    @property
    def share(self) -> float:
        """The accuracy, 0..1."""
        return self.right / self.images

    @property
    def standard_error(self) -> float:
        """The standard error of the share, by the binomial distribution."""
        return (self.share * (1 - self.share) / self.images) ** 0.5

    @property
    def near_chance(self) -> bool:
        """True if a constant answer gets as many right within two of its standard errors."""
        chance = self.largest_class / self.images
        return self.share <= chance + 2 * (chance * (1 - chance) / self.images) ** 0.5


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """The layer from the features to class scores, by its names among the weights.

    Attributes:
        weight: The name of its matrix [classes, d].
        bias: The name of its bias [classes]; empty if there is none, or the field leaves it out.
    """

    weight: str
    bias: str = ""


@dataclass(frozen=True, kw_only=True)
class ExtractorKind:
    """A kind of extractor: without weights, with weights that are fitted to the data, or with weights from a file.

    Attributes:
        open: (weights, shape) -> the extractor; both are empty if it has none. With weights from a file it computes on
            the weights' device and returns features there.
        fit: (training images, held-out images part by part, classes) -> its weights; None if it learns nothing from
            the data.
        file: The file that its weights come from; None if they come from no file.
        scores: The layer that gives class scores; None if it has no classes.
        layers: The layers that it returns.
        unit_chunks: Chunks of images per unit of work; the features of a unit are one file.
        is_tried: Whether it is opened and run before the work begins, since its file alone does not tell that it works.
        packages: Packages beside torch whose versions can change the features.
        rule: The steps from uint8 pixels to the network's input, in words: size, rounding and range.
    """

    open: Callable[[dict[str, Tensor], dict[str, Any]], Extractor]
    fit: Callable[[LabelledImages, Iterable[LabelledImages], int], Fitted] | None = None
    file: WeightsFile | None = None
    scores: ClassScores | None = None
    layers: tuple[str, ...] = (FEATURES,)
    unit_chunks: int = 1
    is_tried: bool = False
    packages: tuple[str, ...] = ()
    rule: str = ""
