"""The last hidden layer of a small network as features; the network is trained on the data's own labels."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.features.extractor import (
    Accuracy,
    ClassScores,
    Extractor,
    ExtractorKind,
    Fitted,
    LabelledImages,
    only_features,
)

FEATURE_DIM = 64
_BATCH = 128
_STEPS = 300
_LEARNING_RATE = 2e-3
_SEED = 0


class Classifier(nn.Module):
    """Three convolutions, an average over each quarter of the image, and two dense layers; the first gives features."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, FEATURE_DIM, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(FEATURE_DIM, FEATURE_DIM, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * FEATURE_DIM, FEATURE_DIM),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURE_DIM, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores of images with values in [0, 1]."""
        scores: Tensor = self.head(self.body(images))
        return scores


def features(network: Classifier, images: Tensor) -> Tensor:
    """Return the last hidden layer, float32 [n, 64], of uint8 images [n, c, h, w]."""
    with torch.no_grad():
        hidden: Tensor = network.body(images.to(torch.float32) / 255)
    return hidden


def train_classifier(images: Tensor, labels: Tensor, classes: int) -> Classifier:
    """Fit the classifier: Adam on cross entropy, a fixed number of steps and a fixed seed, float32.

    Args:
        images: uint8 [n, c, h, w].
        labels: int64 [n], 0..classes-1.
        classes: Number of classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = Classifier(images.shape[1], classes)
        optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
        for step in range(_STEPS):
            batch = torch.randint(len(images), (_BATCH,))
            loss = F.cross_entropy(network(images[batch].to(torch.float32) / 255), labels[batch])
            optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: Classifier, parts: Iterable[LabelledImages], classes: int) -> Accuracy | None:
    """Count the images that the network classifies correctly, one part after the other; None if there are none."""
    right, counts = 0, torch.zeros(classes, dtype=torch.int64)
    for part in parts:
        found = network(part.images.to(torch.float32) / 255).argmax(1)
        right += int((found == part.labels).sum())
        counts += torch.bincount(part.labels, minlength=classes)
    images = int(counts.sum())
    return Accuracy(right=right, images=images, largest_class=int(counts.max())) if images else None


def _open(weights: dict[str, Tensor], shape: dict[str, Any]) -> Extractor:
    network = Classifier(shape["channels"], shape["classes"])
    network.load_state_dict(weights)
    return only_features(partial(features, network.eval()))


def _fit(train: LabelledImages, held_out: Iterable[LabelledImages], classes: int) -> Fitted:
    network = train_classifier(train.images, train.labels, classes)
    return Fitted(
        weights=network.state_dict(),
        shape={"channels": train.images.shape[1], "classes": classes},
        accuracy=accuracy(network, held_out, classes),
    )


CLASSIFIER = ExtractorKind(
    open=_open, fit=_fit, scores=ClassScores(weight="head.weight", bias="head.bias"), rule="divided by 255; not resized"
)
