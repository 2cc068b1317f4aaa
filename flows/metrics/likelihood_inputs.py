"""The network and the held-out images of a worker that measures a likelihood."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ddpm_core.choices import FIXED_VARIANCES, Variance
from ddpm_core.guidance import with_labels, without_classes
from ddpm_core.images import to_model_range
from ddpm_core.prediction import Model
from ddpm_core.rng import Stream, normal
from flows.artifacts import untrained_classes
from flows.snapshot import TrainedNetwork, channels_last, decode_snapshot
from infra.compute.transfer import to_device
from infra.errors import DivergedError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.rows import RowReader
from infra.storage.store import Store

_IMAGES_IN_MEMORY = 1 << 15
_SPLITS = {"train": "training", "test": "held-out"}


@dataclass(frozen=True, kw_only=True)
class LikelihoodSettings:
    """The settings of a likelihood.

    Attributes:
        images: Held-out images.
        batch_size: Images computed together.
        seed: Of all draws of noise.
        draw: The number of this draw of noise, from 0.
        timesteps: Of an estimate, per image.
        flow_steps: Timesteps that the flow's solver visits.
        threads: Of each worker.
        device: `cpu` or `cuda`.
    """

    images: int
    batch_size: int
    seed: int
    draw: int = 0
    timesteps: int = 0
    flow_steps: int = 0
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One compute batch; images past `count` are copies.

    Attributes:
        count: Images that are wanted.
        ids: Their numbers in the split; those of the copies follow.
        x_start: The images on [-1, 1].
        model: The network, conditioned on the images' labels if it has classes.
        noise: Returns the standard normal draw of a step, each image's a function of (seed, draw, number, step).
    """

    count: int
    ids: Tensor
    x_start: Tensor
    model: Model
    noise: Callable[[int], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self.x_start.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A worker's inputs, each loaded when the first unit needs it.

    Attributes:
        settings: Of the likelihood.
        dataset: The sealed images.
        trained: The sealed snapshot.
        store: Where both are.
    """

    settings: LikelihoodSettings
    dataset: Manifest
    trained: Manifest
    store: Store

    @cached_property
    def device(self) -> torch.device:
        """The device of all computation."""
        return torch.device(self.settings.device)

    @cached_property
    def snapshot(self) -> TrainedNetwork:
        """The network, frozen, and its schedule, both on the device."""
        data = read_verified(self.store, self.trained.folder, self.trained.units[0])
        loaded = decode_snapshot(data, self.trained.units[0]["file"])
        network = channels_last(loaded.network.to(self.device))
        return loaded._replace(network=network, schedule=loaded.schedule.to(self.device))

    @property
    def variances(self) -> tuple[Variance, ...]:
        """Both fixed variances, and the learned one if there is one."""
        learned = self.snapshot.variance
        return FIXED_VARIANCES if learned is None else (*FIXED_VARIANCES, learned)

    @cached_property
    def _rows(self) -> dict[str, RowReader]:
        # Only some files of each split are in memory.
        reader = DatasetReader(store=self.store, manifest=self.dataset)
        return {split: RowReader(reader, split, _IMAGES_IN_MEMORY) for split in _SPLITS}

    def batch(self, split: str, start: int, stop: int, stream: Stream, size: int) -> Batch:
        """Load images start..stop-1 of a split as one compute batch of `size`, filled up with copies of the last.

        Every batch has the same shape, so that an image's figure does not depend on which images are beside it. A
        network with classes is conditioned on each image's own: the likelihood is that of the image given its label. An
        image whose class has no training image has no label.
        """
        images, labels = (torch.from_numpy(part) for part in self._rows[split](np.arange(start, stop)))
        settings, (network, schedule, *_) = self.settings, self.snapshot
        places = torch.arange(size).clamp(max=len(images) - 1)
        ids = torch.arange(start, start + size, device=self.device)
        first_step = settings.draw * schedule.num_timesteps
        conditional = bool(network.config.num_classes)
        if conditional:
            no_label = network.config.num_classes - 1
            labels = without_classes(labels.long(), untrained_classes(self.dataset), no_label)
        return Batch(
            count=len(images),
            ids=ids,
            x_start=to_model_range(to_device(images[places], self.device)),
            model=with_labels(network, to_device(labels[places], self.device)) if conditional else network,
            noise=lambda t: normal(settings.seed, stream, ids, tuple(images.shape[1:]), step=first_step + t),
        )


def finite(tensors: dict[str, Tensor], split: str, start: int, stop: int) -> dict[str, Tensor]:
    """Return the tensors.

    Raises:
        DivergedError: If a number among them is not finite; the line names the images.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise DivergedError(
            "the bound is not finite",
            stage="evaluate",
            item=f"{_SPLITS[split]} images {start}..{stop - 1}",
            remedy="the snapshot is unusable; train with a lower train.learning_rate",
        )
    return tensors


def sums(name: str, steps: Tensor, decoder: Tensor, total: Tensor) -> dict[str, Tensor]:
    """Return the parts of a bound that depend on the variance and their total, by the names they are sealed under."""
    return {f"step_bpd_{name}": steps, f"decoder_bpd_{name}": decoder, f"total_bpd_{name}": total}
