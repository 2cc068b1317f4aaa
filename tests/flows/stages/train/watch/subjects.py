"""Subjects of measurements with known figures: Gaussian pixels with their best denoiser, and one constant image."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ddpm_core.choices import Loss, Parameterisation, Variance
from ddpm_core.objective import Objective
from ddpm_core.schedule import NoiseSchedule, linear_schedule
from flows.snapshot import TrainedNetwork
from flows.stages.train.watch.images import WatchedImages
from flows.stages.train.watch.measurement import Measurement
from infra.outputs.images import DatasetReader
from tests.oracles.denoisers import gaussian

SCHEDULE = linear_schedule(100, 1e-3, 0.2)
DATA_VARIANCE = 0.09
CPU = torch.device("cpu")


class Network:
    """A denoiser in the place of a network; it counts its calls."""

    def __init__(self, denoise: Any, *, classes: int = 0, channels: int = 1, size: int = 4) -> None:
        self.config = SimpleNamespace(
            num_classes=classes, in_channels=channels, image_shape=(channels, size, size), learned_variance=False
        )
        self.denoise, self.calls = denoise, 0

    def __call__(self, x_t: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        self.calls += 1
        return self.denoise(x_t, t, *labels)


def trained(
    denoise: Any = None,
    *,
    schedule: NoiseSchedule = SCHEDULE,
    parameterisation: Parameterisation = Parameterisation.EPS,
    variance: Variance | None = None,
    **shape: int,
) -> TrainedNetwork:
    """The best denoiser of Gaussian pixels, unless another one is passed."""
    network: Any = Network(denoise or gaussian(schedule.alphas_cumprod, 0.0, DATA_VARIANCE), **shape)
    return TrainedNetwork(network, schedule, parameterisation, variance)


def grey_images(count: int, seed: int = 0) -> Tensor:
    """Independent pixels, normal around mid-grey, uint8 [n, 1, 4, 4]."""
    drawn = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * DATA_VARIANCE**0.5
    return ((drawn + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def measurement(images: Tensor, *, reader: Any = None, batch_size: int = 64, **more: Any) -> Measurement:
    """Return a measurement of these images."""
    count = len(images)
    unread: DatasetReader = reader
    return Measurement(
        watched=WatchedImages(split="test", images=images, labels=torch.arange(count) % 3, ids=torch.arange(count) * 5),
        reader=unread,
        objective=more.pop("objective", Objective(loss=Loss.SIMPLE)),
        seed=3,
        batch_size=batch_size,
        device=CPU,
        **more,
    )
