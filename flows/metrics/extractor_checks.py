"""Refusals of an extractor before the work that would wait for it: its file, and the metrics that it cannot serve."""

from collections.abc import Sequence
from math import prod

import torch

from flows.artifacts import Dataset
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.extractors import EXTRACTORS
from infra.errors import ConfigError
from infra.features.inception.network import SPATIAL


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
            extractor, shape = kind.open(weights, {}), (2, dataset.channels, dataset.image_size, dataset.image_size)
            images = torch.arange(prod(shape)).reshape(shape).remainder(256).to(torch.uint8)
            extractor(images)
            extractor(images[:1])


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
