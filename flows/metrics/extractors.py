"""The extractors by name, and the weights of those that learn from the data: fitted once per data set, then sealed."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from flows.artifacts import Dataset
from flows.metrics.choices import ExtractorName
from flows.stage import Context, Progress
from infra.compute.device import environment, fixed_threads
from infra.errors import ConfigError
from infra.features.classifier import CLASSIFIER
from infra.features.extractor import Extractor, ExtractorKind, LabelledImages
from infra.features.pixels import PIXELS
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors
from infra.storage.store import Store

STAGE = "classifier"
FORMAT_VERSION = 4

EXTRACTORS: Mapping[ExtractorName, ExtractorKind] = MappingProxyType(
    {
        ExtractorName.CLASSIFIER: CLASSIFIER,
        ExtractorName.PIXELS: PIXELS,
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


def sealed_weights(name: ExtractorName, dataset: Dataset, *, threads: int, context: Context) -> Manifest | None:
    """Fit an extractor in this process, or find its weights sealed; their key is the data alone.

    Args:
        name: Of the extractor.
        dataset: To fit it to, with labels.
        threads: To compute with; sums depend on them.
        context: The outside world.

    Returns:
        The manifest of the weights, or None if the extractor learns nothing.
    """
    kind = EXTRACTORS[name]
    if kind.fit is None:
        return None
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        # The first kind that learned had no name in its key.
        settings=({} if name == ExtractorName.CLASSIFIER else {"extractor": name.value})
        | ({"threads": threads} if threads != 1 else {}),
        inputs={"dataset": dataset.digest},
    )

    def make(output: Output) -> Manifest:
        context.on_progress(Progress(done=0, total=1, unit="units", phase=f"training the {name}"))
        return _fit(kind, output, dataset, threads)

    return context.sealed(plan, {}, environment("cpu"), make)[0]


def open_extractor(name: ExtractorName, weights: Manifest | None, store: Store) -> Extractor:
    """Open an extractor.

    Args:
        name: Of the extractor.
        weights: Sealed, of an extractor that learns from the data.
        store: Where they are.
    """
    if weights is None:
        return EXTRACTORS[name].open({}, {})
    (unit,) = weights.units
    return EXTRACTORS[name].open(*decode_tensors(read_verified(store, weights.folder, unit), unit["file"]))


def _fit(kind: ExtractorKind, output: Output, dataset: Dataset, threads: int) -> Manifest:
    assert kind.fit is not None, "only a kind that learns from the data is fitted"
    reader = DatasetReader(store=output.store, manifest=dataset.manifest(output.store))
    with fixed_threads(threads):
        fitted = kind.fit(_labelled(reader, "train"), _labelled(reader, "test"), len(dataset.class_names))
    data = encode_tensors(fitted.weights, fitted.shape)
    record = output.commit("units/000000", "safetensors", data, fitted.facts)
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], fitted.facts)


def _labelled(reader: DatasetReader, split: str) -> LabelledImages:
    images, labels = (torch.from_numpy(array) for array in reader.load(split))
    return LabelledImages(images=images, labels=labels.long())
