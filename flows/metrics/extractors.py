"""The extractors by name, and the sealed weights of those that have some: fitted once per data set or read from a file.

Sealed weights are the same bytes for every worker, wherever it works, and each verifies them before it opens them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from math import prod
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flows.artifacts import Dataset
from flows.metrics.choices import ExtractorName
from flows.nodes.environment import Environment
from flows.nodes.survey import Survey
from flows.stage import Context, Progress
from infra.compute.device import fixed_threads
from infra.digests import Json, sha256
from infra.errors import ConfigError
from infra.features.classifier import CLASSIFIER
from infra.features.dinov2.kind import DINOV2
from infra.features.extractor import Accuracy, Extractor, ExtractorKind, LabelledImages
from infra.features.inception.kind import INCEPTION
from infra.features.opacity import over_white
from infra.features.pixels import PIXELS
from infra.features.program import PROGRAM
from infra.features.weights_file import WeightsFile
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.rows import RowReader
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.store import Store

STAGE = "classifier"
FORMAT_VERSION = 5
FILE_STAGE = "weights"
FILE_FORMAT_VERSION = 2
# An extractor is fitted to so many images at most, and to so many bytes of them, however large the training split is.
_FITTED_IMAGES = 1 << 15
_FITTED_BYTES = 1 << 30
_PART = 1024
_ACCURACY, _FITTED_TO = "held_out_accuracy", "train_images"

EXTRACTORS: Mapping[ExtractorName, ExtractorKind] = MappingProxyType(
    {
        ExtractorName.CLASSIFIER: CLASSIFIER,
        ExtractorName.PIXELS: PIXELS,
        ExtractorName.INCEPTION: INCEPTION,
        ExtractorName.DINOV2: DINOV2,
        ExtractorName.PROGRAM: PROGRAM,
    }
)


def settled_extractor(name: ExtractorName, dataset: Dataset) -> ExtractorName:
    """Return the extractor that a setting names, or the one that `auto` takes for this data.

    Raises:
        ConfigError: If it learns from labels and the data has fewer than two classes.
    """
    labelled = len(dataset.class_names) > 1
    if name == ExtractorName.AUTO:
        return ExtractorName.CLASSIFIER if labelled else ExtractorName.PIXELS
    if EXTRACTORS[name].fit is not None and not labelled:
        raise ConfigError(
            "the data has fewer than two classes to train it on",
            item="evaluate.extractor",
            stage="evaluate",
            remedy=f"set evaluate.extractor={ExtractorName.PIXELS}",
        )
    return name


def sealed_weights(
    name: ExtractorName, dataset: Dataset | None, *, threads: int, context: Context, file: str = "", digest: str = ""
) -> Manifest | None:
    """Fit an extractor in this process, or read its weights from a file, or find them sealed.

    The key of fitted weights is the data alone, that of others the file's digest alone.

    Args:
        name: Of the extractor.
        dataset: To fit it to, with labels; None for an extractor that learns nothing from the data.
        threads: To compute with; sums depend on them.
        context: The outside world.
        file: Path or URI of the weights of an extractor that takes them from a file.
        digest: The sha256 that the file must have; empty for that of any published file.

    Returns:
        The manifest of the weights, or None if the extractor has none.

    Raises:
        InputError: If the file is not there, damaged or another.
    """
    kind = EXTRACTORS[name]
    if kind.file is not None:
        return _read(name, kind.file, file, digest, context)
    if kind.fit is None:
        return None
    assert dataset is not None, "an extractor is fitted to some data"
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        # The first kind that learned had no name in its key.
        settings=({} if name == ExtractorName.CLASSIFIER else {"extractor": name.value})
        | ({"threads": threads} if threads != 1 else {}),
        inputs={"dataset": dataset.digest},
    )

    def make(output: Output, _: Survey) -> Manifest:
        context.on_progress(Progress(done=0, total=1, unit="units", phase=f"training the {name}"))
        return _fit(kind, output, dataset, threads)

    return context.sealed(plan, {}, lambda: Environment(work="extracting"), make)[0]


def accuracy_of(weights: Manifest | None) -> Accuracy | None:
    """Return the held-out accuracy of weights; None if they are not fitted to labels, or no held-out image has one."""
    found = weights.facts.get(_ACCURACY) if weights else None
    return None if found is None else Accuracy(**found)


def is_fitted(weights: Manifest | None) -> bool:
    """Tell whether weights are fitted to the data."""
    return weights is not None and weights.plan["stage"] == STAGE


def fitted_images_of(weights: Manifest | None) -> int | None:
    """Return the number of training images that weights were fitted to; None if they were not, or it is not known."""
    return weights.facts.get(_FITTED_TO) if weights else None


def is_published(name: ExtractorName, weights: Manifest | None) -> bool:
    """Tell whether figures rest on what FID and its like rest on: Inception with the weights of a published file.

    Args:
        name: Of the extractor.
        weights: Sealed, of an extractor that has some.
    """
    return name == ExtractorName.INCEPTION and _are_published(name, weights)


def extractor_label(name: ExtractorName, weights: Manifest | None) -> str:
    """Return the extractor's part of a figure's name; unlike features never have the same.

    A file that is not published adds the first 8 digits of its sha256, as in `program_0a1b2c3d`. Inception's does not:
    the figures of its published weights have names of their own (`is_published`).

    Args:
        name: Of the extractor.
        weights: Sealed, of an extractor that has some.
    """
    is_plain = EXTRACTORS[name].file is None or name == ExtractorName.INCEPTION or _are_published(name, weights)
    return name.value if is_plain or weights is None else f"{name}_{weights.facts['sha256'][:8]}"


def extractor_device(name: ExtractorName, device: str) -> str:
    """Return the device that an extractor computes on if the stage has this one; small extractors keep to the CPU."""
    return "cpu" if EXTRACTORS[name].file is None else device


def open_extractor(name: ExtractorName, weights: Manifest | None, store: Store, device: str = "cpu") -> Extractor:
    """Open an extractor.

    Args:
        name: Of the extractor.
        weights: Sealed, of an extractor that has some.
        store: Where they are.
        device: Where it computes.

    Raises:
        IntegrityError: If the weights differ from what was sealed.
    """
    if weights is None:
        return _seen_over_white(EXTRACTORS[name].open({}, {}))
    (unit,) = weights.units
    tensors, shape = decode_tensors(read_verified(store, weights.folder, unit), unit["file"])
    on_device = {part: tensor.to(device) for part, tensor in tensors.items()}
    return _seen_over_white(EXTRACTORS[name].open(on_device, shape))


def _seen_over_white(extractor: Extractor) -> Extractor:
    return lambda images: extractor(over_white(images))


def open_class_scores(
    name: ExtractorName, weights: Manifest, store: Store, device: str = "cpu"
) -> Callable[[Tensor], Tensor]:
    """Open the last layer of an extractor with classes: features [n, d] to class scores [n, classes], in float64.

    Args:
        name: Of the extractor.
        weights: Sealed.
        store: Where they are.
        device: Where the features are.

    Raises:
        IntegrityError: If the weights differ from what was sealed.
    """
    kind = EXTRACTORS[name].scores
    assert kind is not None, "the extractor has classes, as was checked before"
    (unit,) = weights.units
    tensors, _ = decode_tensors(read_verified(store, weights.folder, unit), unit["file"])
    weight = tensors[kind.weight].to(device).double()
    bias = tensors[kind.bias].to(device).double() if kind.bias else torch.zeros(len(weight), device=device).double()
    return lambda features: features.double() @ weight.T + bias


def _are_published(name: ExtractorName, weights: Manifest | None) -> bool:
    file = EXTRACTORS[name].file
    return file is not None and weights is not None and weights.facts["sha256"] in file.published


def _read(name: ExtractorName, kind: WeightsFile, file: str, digest: str, context: Context) -> Manifest:
    data = kind.bytes_of(file, digest)
    found = sha256(data)
    settings = {"extractor": name.value, "sha256": found}
    plan = Plan(stage=FILE_STAGE, format_version=FILE_FORMAT_VERSION, settings=settings, inputs={})

    def make(output: Output, _: Survey) -> Manifest:
        # The digest of the file goes into the sealed bytes, and with them into the key of the features.
        weights = encode_tensors(kind.read(data, file), {"sha256": found})
        record = output.commit("units/000000", "safetensors", weights, {})
        return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], {"sha256": found})

    return context.sealed(plan, {}, lambda: Environment(work="copying"), make)[0]


def _fit(kind: ExtractorKind, output: Output, dataset: Dataset, threads: int) -> Manifest:
    assert kind.fit is not None, "only a kind that learns from the data is fitted"
    reader = DatasetReader(store=output.store, manifest=dataset.manifest(output.store))
    train = _spread(dataset.train_images, prod(dataset.image_shape))
    with fixed_threads(threads):
        (images,) = _parts(reader, "train", train, len(train))
        held_out = map(_labelled, _parts(reader, "test", np.arange(dataset.test_images), _PART))
        fitted = kind.fit(images, held_out, len(dataset.class_names))
    data = encode_tensors(fitted.weights, fitted.shape)
    record = output.commit("units/000000", "safetensors", data, {})
    facts: Json = {_FITTED_TO: len(train)}
    if fitted.accuracy is not None:
        facts[_ACCURACY] = asdict(fitted.accuracy)
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], facts)


def _labelled(part: LabelledImages) -> LabelledImages:
    """Those images of a part that have a label."""
    known = part.labels >= 0
    return LabelledImages(images=part.images[known], labels=part.labels[known])


def _spread(images: int, bytes_per_image: int) -> NDArray[np.int64]:
    """Return the numbers of all images, or of as many, evenly spread, as an extractor is fitted to at most."""
    count = min(images, _FITTED_IMAGES, max(_FITTED_BYTES // bytes_per_image, 1))
    return np.arange(count) * images // count


def _parts(reader: DatasetReader, split: str, numbers: NDArray[np.int64], size: int) -> Iterator[LabelledImages]:
    rows = RowReader(reader, split, _PART)
    for start in range(0, len(numbers), size):
        images, labels = rows(numbers[start : start + size])
        yield LabelledImages(images=over_white(torch.from_numpy(images)), labels=torch.from_numpy(labels).long())
