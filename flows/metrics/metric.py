"""A metric: the sealed outputs that its figures rest on, and the figures that follow from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.artifacts import Dataset, Figure, Samples, Snapshot
from flows.metrics.choices import ExtractorName
from flows.metrics.together import Work
from infra.digests import Json
from infra.outputs.manifest import Manifest
from infra.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The artifacts that are measured, and the settings to measure them with.

    Attributes:
        dataset: Reference images and held-out images.
        snapshot: Of the network.
        samples: The images that the network drew.
        settings: Every result setting of the evaluation by name.
        key: Those of them that enter keys.
        extractor: Of the features, `auto` settled; None if no chosen metric uses one.
        weights: Sealed, of an extractor that has weights.
        device: `cpu` or `cuda`.
        store: Where all of it is.
    """

    dataset: Dataset
    snapshot: Snapshot
    samples: Samples
    settings: Mapping[str, Any]
    key: Json
    extractor: ExtractorName | None
    weights: Manifest | None
    device: str
    store: Store

    def key_of(self, names: Sequence[str]) -> Json:
        """Return those settings of these names that enter keys."""
        return {name: value for name, value in self.key.items() if name in names}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The outcome of a metric.

    Attributes:
        figures: The most important first.
        counts: How many images or timesteps they rest on, by name.
        files: Further results, by the name that they are sealed under.
    """

    figures: Sequence[Figure]
    counts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One kind of figures.

    Attributes:
        works: The outputs that it rests on, each with a key of its own; metrics may share them.
        measure: (subject, the sealed outputs in the order of `works`) -> the figures.
    """

    works: Callable[[Subject], Sequence[Work]]
    measure: Callable[[Subject, Sequence[Manifest]], Measured]
