"""Distances between the features of the samples and of the training split, from their sums."""

from collections.abc import Callable, Sequence
from functools import partial

from ddpm_core.metrics.frechet import FeatureStats
from flows.artifacts import Figure
from flows.metrics.features import features_work, read_stats
from flows.metrics.metric import Measured, Metric, Subject
from flows.metrics.together import Work
from infra.compute.device import fixed_threads
from infra.outputs.manifest import Manifest

# (samples, reference) -> their distance.
Distance = Callable[[FeatureStats, FeatureStats], float]


def distance_metric(name: str, about: str, distance: Distance, *, caution: str = "") -> Metric:
    """Return the metric of a distance between feature statistics; its figure is called `<name>_<extractor>`.

    Args:
        name: Of the distance, such as `fd`.
        about: The distance in words, such as "Fréchet distance".
        distance: Computes it from the sums over the samples' features and over the reference's.
        caution: A remark that stands behind the figure's note.
    """
    return Metric(works=_works, measure=partial(_measure, name, about, distance, caution))


def _works(subject: Subject) -> list[Work]:
    return [
        features_work(subject, subject.dataset, "train", subject.dataset.train_images, label="reference"),
        features_work(subject, subject.samples, "samples", subject.samples.count, label="samples"),
    ]


def _measure(
    name: str, about: str, distance: Distance, caution: str, subject: Subject, sealed: Sequence[Manifest]
) -> Measured:
    reference, drawn = (read_stats(manifest, subject.store) for manifest in sealed)
    with fixed_threads(1):
        value = distance(drawn, reference)
    full_name = f"{name}_{subject.extractor}"
    note = f"{about} of {drawn.count:,} samples to {reference.count:,} training images{caution}"
    figure = Figure(name=full_name, value=value, label=full_name, note=note, headline=True)
    return Measured(figures=[figure], counts={"distance_samples": drawn.count})
