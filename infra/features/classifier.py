"""Feature extractors for the Fréchet distance, by name; none of them is Inception, so no such distance is an FID.

`fd_pixels`: the pixels themselves, averaged down to at most 16x16.
`fd_classifier`: the last hidden layer of a small network trained on the data's own labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURE_DIM = 64
_PIXELS_SIDE = 16
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


@dataclass(frozen=True)
class Extractor:
    """Turns uint8 images [n, c, h, w] into features [n, d]; without a network, the averaged pixels."""

    name: str
    network: Classifier | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of uint8 images, float32."""
        scaled = images.to(torch.float32) / 255
        if self.network is None:
            side = min(_PIXELS_SIDE, images.shape[-1])
            return F.adaptive_avg_pool2d(scaled, side).flatten(1)
        features: Tensor = self.network.body(scaled)
        return features


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
def accuracy(network: Classifier, images: Tensor, labels: Tensor) -> float:
    """The share of images that the network classifies correctly, 0..1."""
    scores = torch.cat([network(part.to(torch.float32) / 255) for part in images.split(1024)])
    return float((scores.argmax(1) == labels).double().mean())
