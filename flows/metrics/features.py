"""The features of images: an output of its own, so that all runs on a data set share its reference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from flows.metrics.choices import ExtractorName
from flows.metrics.extractors import EXTRACTORS, extractor_device, open_extractor
from flows.metrics.metric import ImageSet, Subject
from flows.metrics.together import Work
from flows.nodes.environment import Environment
from infra.compute.device import prepare_process
from infra.digests import Json
from infra.errors import ConfigError, InputError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.outputs.rows import RowReader
from infra.outputs.tensors import encode_tensors

STAGE = "features"
FORMAT_VERSION = 5
# Images at a time.
_CHUNK = 1024
_IMAGES_IN_MEMORY = 1 << 15
_FEWEST = 2
# Numbers of images that an error names.
_NAMED = 5
# The one wording of this, wherever a figure is left out for it.
NONE_HELD_OUT = "no image is held out (prepare.holdout)"


class TooFewError(ConfigError):
    """A metric has too few images on a side, or some that it cannot measure."""


def compared_features(subject: Subject) -> tuple[Work, Work]:
    """The features of the reference and of the samples, which metrics of features compare.

    Raises:
        ConfigError: If either has fewer than 2 images, or there are no reference images.
    """
    if subject.reference is None:
        raise needs_reference_images("this metric")
    check_count("a distance", _FEWEST, [subject.reference, subject.samples])
    return features_work(subject, subject.reference, label="reference"), sample_features(subject)


def needs_reference_images(metric: str) -> ConfigError:
    """Return the error of a metric if only statistics of the reference are there."""
    return ConfigError(
        f"the reference is a file of statistics, and {metric} needs its images",
        item="evaluate.metrics",
        stage="evaluate",
        remedy="leave the metric out, or compare with images",
    )


def sample_features(subject: Subject) -> Work:
    """The features of the samples."""
    return features_work(subject, subject.samples, label="samples")


def check_count(metric: str, fewest: int, sides: Sequence[ImageSet | None]) -> None:
    """Check that the images of a metric are enough.

    Args:
        metric: Its name in words, for the error.
        fewest: Images that each side needs.
        sides: The images.

    Raises:
        TooFewError: If a side has fewer, or is missing.
    """
    for side in sides:
        if side is None or side.count < fewest:
            name, there = ("images", "none") if side is None else (side.name, side.count)
            if side is not None and side.split == "test" and not side.count:
                cause = NONE_HELD_OUT
            else:
                setting = " (prepare.holdout)" if side is not None and side.split == "test" else ""
                cause = f"at least {fewest} {name} are needed for {metric}; there are {there}{setting}"
            raise TooFewError(
                cause,
                item="evaluate.metrics",
                stage="evaluate",
                remedy="take more images, or leave the metric out",
            )


def features_work(subject: Subject, images: ImageSet, *, label: str) -> Work:
    """The features of some images, each by itself, in their order.

    Args:
        subject: Names the extractor, the threads of each worker and its device; features depend on them.
        images: The images.
        label: The name of the output among those that figures rest on.
    """
    extractor, threads = subject.extractor, int(subject.settings["threads"])
    assert extractor is not None, "a metric of features says that it uses the setting `extractor`"
    settings: Json = {"extractor": extractor.value, "split": images.split}
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=settings | ({"threads": threads} if threads != 1 else {}),
        inputs={"images": images.images.digest, "classifier": subject.weights.digest if subject.weights else ""},
    )
    size = _CHUNK * EXTRACTORS[extractor].unit_chunks
    chunks = [(start, min(start + size, images.count)) for start in range(0, images.count, size)]
    device = extractor_device(extractor, subject.device)
    names = [f"units/{number:06d}" for number in range(len(chunks))]

    def task(output: Output, device: str) -> FeaturesTask:
        return FeaturesTask(
            output=output,
            images=images.images.manifest(subject.store),
            split=images.split,
            chunks=chunks,
            extractor=extractor,
            weights=subject.weights,
            threads=threads,
            device=device,
        )

    return Work(
        label=label,
        plan=plan,
        environment=Environment(work="extracting", device=device, more=tuple(EXTRACTORS[extractor].packages)),
        names=names,
        task=task,
        seal=partial(_seal, chunks=chunks),
    )


@dataclass(frozen=True, kw_only=True)
class FeaturesTask:
    """Computes the features of one unit at a time."""

    output: Output
    images: Manifest
    split: str
    chunks: list[tuple[int, int]]
    extractor: ExtractorName
    weights: Manifest | None
    threads: int
    device: str = "cpu"

    def open(self) -> Callable[[int], None]:
        """Return the function that computes and commits one unit."""
        prepare_process(self.threads)
        reader = DatasetReader(store=self.output.store, manifest=self.images)
        rows = RowReader(reader, self.split, _IMAGES_IN_MEMORY)
        extractor = open_extractor(self.extractor, self.weights, self.output.store, self.device)

        def run(number: int) -> None:
            start, stop = self.chunks[number]
            parts = []
            for first in range(start, stop, _CHUNK):
                images, _ = rows(np.arange(first, min(first + _CHUNK, stop)))
                parts.append({layer: part.cpu() for layer, part in extractor(torch.from_numpy(images)).items()})
            features = {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}
            _check_finite(features, start, self.split, self.extractor)
            self.output.commit(f"units/{number:06d}", "safetensors", encode_tensors(features, {}), {})

        return run


def _check_finite(features: Mapping[str, torch.Tensor], start: int, split: str, extractor: ExtractorName) -> None:
    """Refuse features that are not finite, before they are sealed.

    Args:
        features: Of images by layer, float32 [n, d].
        start: The number of the first of these images in their split, from 0.
        split: Its name.
        extractor: Of the features.

    Raises:
        InputError: If a feature is NaN or infinite.
    """
    bad = ~torch.stack([rows.isfinite().all(1) for rows in features.values()]).all(0)
    numbers = (bad.nonzero()[:, 0] + start).tolist()
    if numbers:
        more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
        named = ", ".join(map(str, numbers[:_NAMED])) + more
        raise InputError(
            f"{extractor} gives features that are not finite for the images {named} of {split}, counted from 0",
            item="evaluate.extractor",
            remedy="take other weights or another extractor",
        )


def _seal(output: Output, chunks: list[tuple[int, int]]) -> Manifest:
    units = []
    for number, (start, stop) in enumerate(chunks):
        record = output.record(f"units/{number:06d}")
        assert record is not None, f"unit {number} was committed and has no record"
        units.append({"unit": number, "rows": stop - start, **record.as_json()})
    return output.seal({}, units, {"images": chunks[-1][1]})
