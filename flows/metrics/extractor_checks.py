"""Refusals of an extractor before the work that would wait for it: its file, and the metrics that it cannot serve."""

from collections.abc import Sequence
from math import prod

import torch

from ddpm_core.network.image_size import ImageSize, image_sides
from flows.artifacts import Dataset
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.extractors import EXTRACTORS, open_extractor
from infra.errors import ConfigError
from infra.features.extractor import Extractor
from infra.features.inception.network import SPATIAL
from infra.features.opacity import over_white
from infra.outputs.manifest import Manifest
from infra.storage.store import Store


def check_file(name: ExtractorName, file: str, digest: str, dataset: Dataset) -> None:
    """Check that an extractor's file is there, is the one that is meant, and holds what it should.

    The evaluation reads the file only after training, which may take days. A program is also run on the CPU, on two
    images of the data's shape and on one.

    Args:
        name: Of the extractor.
        file: Path or URI of the file.
        digest: The sha256 that it must have; empty for that of any published file.
        dataset: The images that the extractor will see.

    Raises:
        InputError: If the file is not there, damaged or another, or a program does not work.
    """
    kind = EXTRACTORS[name]
    if kind.file is not None:
        weights = kind.file.read(kind.file.bytes_of(file, digest), file)
        if kind.is_tried:
            _try(kind.open(weights, {}), dataset.channels, dataset.image_size)


def try_extractor(
    name: ExtractorName, weights: Manifest | None, store: Store, channels: int, image_size: ImageSize
) -> None:
    """Run a program on the CPU, on two images of a shape and on one; other extractors need no trial.

    Args:
        name: Of the extractor.
        weights: Sealed, of an extractor that has some.
        store: Where they are.
        channels: Of the images that it will see.
        image_size: Their height and width, or one number for both.

    Raises:
        InputError: If it does not work.
    """
    if EXTRACTORS[name].is_tried:
        _try(open_extractor(name, weights, store), channels, image_size)


def check_metrics(name: ExtractorName, metrics: Sequence[MetricName]) -> None:
    """Check that an extractor gives what metrics need.

    Args:
        name: Of the extractor.
        metrics: The chosen metrics.

    Raises:
        ConfigError: If it has no classes, or no layer that keeps places.
    """
    lacks = {
        MetricName.INCEPTION_SCORE: "" if EXTRACTORS[name].scores else "no classes",
        MetricName.SFD: "" if SPATIAL in EXTRACTORS[name].layers else "no spatial layer",
    }
    for metric in metrics:
        if lacks.get(metric):
            raise ConfigError(
                f"{metric} needs another extractor: {name} has {lacks[metric]}",
                item="evaluate.metrics",
                stage="evaluate",
                remedy=f"set evaluate.extractor={ExtractorName.INCEPTION}, or leave {metric} out",
            )


def _try(extractor: Extractor, channels: int, image_size: ImageSize) -> None:
    shape = (2, channels, *image_sides(image_size))
    images = over_white(torch.arange(prod(shape)).reshape(shape).remainder(256).to(torch.uint8))
    extractor(images)
    extractor(images[:1])
