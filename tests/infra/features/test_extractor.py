"""Kinds of extractors: float32 features, an image's own whatever stands beside it."""

import pytest
import torch

from infra.features.classifier import CLASSIFIER, Classifier
from infra.features.dinov2.kind import DINOV2
from infra.features.extractor import FEATURES, Accuracy, Extractor
from infra.features.inception.kind import INCEPTION
from infra.features.pixels import PIXELS
from infra.features.program import PROGRAM


def opened(kind: str) -> Extractor:
    if kind == "pixels":
        return PIXELS.open({}, {})
    torch.manual_seed(0)
    return CLASSIFIER.open(Classifier(3, 5).state_dict(), {"channels": 3, "classes": 5})


@pytest.mark.parametrize("kind", ["pixels", "classifier"])
def test_features_are_float32_and_each_images_own(kind: str) -> None:
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    extractor = opened(kind)
    together = extractor(images)[FEATURES]
    assert (together.dtype, together.ndim, len(together)) == (torch.float32, 2, 6)
    alone = torch.cat([extractor(images[number : number + 1])[FEATURES] for number in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_weights_come_from_one_place() -> None:
    """From nowhere, from a fit or from a file."""
    kinds = (PIXELS, CLASSIFIER, INCEPTION, DINOV2, PROGRAM)
    sources = [(kind.fit is not None, kind.file is not None) for kind in kinds]
    assert sources == [(False, False), (True, False), (False, True), (False, True), (False, True)]


@pytest.mark.parametrize(
    ("right", "images", "largest_class", "expected"),
    [
        (100, 100, 50, False),
        (61, 100, 50, False),  # 0.5 + 2 sqrt(0.25 / 100) = 0.6
        (60, 100, 50, True),
        (95, 100, 95, True),  # no better than always the same answer
        (2, 2, 1, True),  # two images show nothing
    ],
)
def test_near_chance_is_within_two_standard_errors_of_a_constant_answer(
    right: int, images: int, largest_class: int, expected: bool
) -> None:
    assert Accuracy(right=right, images=images, largest_class=largest_class).near_chance is expected
