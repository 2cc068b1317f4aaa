"""The measurement of a run's points: what it measures on, and each point's network."""

from collections.abc import Generator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from ddpm_core.network.unet import UNet
from flows.snapshot import TrainedNetwork, channels_last, make_schedule
from flows.stages.train.assignment import Assignment
from flows.stages.train.config import TrainConfig
from flows.stages.train.objective import make_objective, schedule_settings
from flows.stages.train.points import crossed, images_between_points
from flows.stages.train.watch.images import watched_images
from flows.stages.train.watch.measurement import Measured, Measurement
from infra.compute.device import torch_dtype
from infra.outputs.images import DatasetReader

_IMAGES = 256
_BATCH_SIZE = 64
_DISTANCE_EVERY = 4


class WatchedRun:
    """Measures the points of one run; images and network are loaded when the first point needs them.

    Args:
        assignment: The work of the group that trains.
        device: The device of all computation.
    """

    def __init__(self, assignment: Assignment, device: torch.device) -> None:
        self._assignment, self._device = assignment, device

    def measure(self, images_seen: int, weights: Mapping[str, Tensor]) -> Generator[None, None, Measured]:
        """Measure a point in slices; see `Measurement.measure`.

        Args:
            images_seen: The point's place.
            weights: The averaged weights by their names in the network.
        """
        measurement = self._measurement
        yield
        self._network.load_state_dict(weights)
        config, objective = self._assignment.config, make_objective(self._assignment.config)
        trained = TrainedNetwork(
            network=self._network,
            schedule=make_schedule(**schedule_settings(config)),
            parameterisation=objective.parameterisation,
            variance=objective.variance if objective.variance.is_learned else None,
        )
        return (yield from measurement.measure(trained, samples_at(config, images_seen)))

    @cached_property
    def _measurement(self) -> Measurement:
        config, dataset, store = self._assignment.config, self._assignment.dataset, self._assignment.output.store
        reader = DatasetReader(store=store, manifest=dataset.manifest(store))
        return Measurement(
            watched=watched_images(reader, _IMAGES),
            reader=reader,
            objective=make_objective(config),
            seed=config.seed,
            batch_size=_BATCH_SIZE,
            device=self._device,
            dtype=torch_dtype(config.dtype),
            untrained_classes=dataset.untrained_classes(store),
        )

    @cached_property
    def _network(self) -> UNet:
        config, dataset = self._assignment.config, self._assignment.dataset
        network = UNet(config.unet(dataset.image_size, dataset.channels, len(dataset.class_names)), seed=None)
        return channels_last(network.to(self._device)).eval().requires_grad_(False)


def samples_at(config: TrainConfig, images_seen: int) -> int:
    """Return the images to draw at a point for the distance: `watch_samples` at the goal and at every fourth by images.

    Points by time lie between those; none of them is a fourth.
    """
    every_images = _DISTANCE_EVERY * images_between_points(config)
    is_due = images_seen >= config.total_images or crossed(images_seen, config.batch_size, every_images)
    return config.watch_samples if is_due else 0
