"""A bound is refused if it would measure images without a label by a network that never trained without one."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.metrics.features import TooFewError
from flows.metrics.labels import check_labels


def subject(settings: dict[str, Any], test: dict[str, int], images: int) -> Any:
    """A network of these settings, 9 training images of the first class, and held-out images: by class, and all."""
    facts = {
        "class_names": ["cat", "dog"],
        "classes": {"train": {"0": 9}, "test": test},
        "images": {"train": 9, "test": images},
    }
    snapshot, dataset = (SimpleNamespace(manifest=lambda _, f=f: SimpleNamespace(facts=f)) for f in (settings, facts))
    return SimpleNamespace(snapshot=snapshot, dataset=dataset, store=None)


@pytest.mark.parametrize(
    ("test", "images", "without"),
    [({"0": 4}, 4, 0), ({"0": 3, "1": 1}, 4, 1), ({"0": 3}, 4, 1), ({"1": 1}, 3, 3), ({}, 2, 2)],
)
def test_only_labels_that_trained_are_measured(test: dict[str, int], images: int, without: int) -> None:
    for settings in ({}, {"class_conditional": False}, {"class_conditional": True, "label_dropout": 0.1}):
        check_labels(subject({"settings": settings}, test, images))
    never = subject({"settings": {"class_conditional": True, "label_dropout": 0.0}}, test, images)
    if not without:
        check_labels(never)
        return
    with pytest.raises(TooFewError, match=f"{without} held-out images have no class of a training image, .* above 0"):
        check_labels(never)
