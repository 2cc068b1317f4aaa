"""Distances between the features of the samples and of the training split, from their sums."""

from collections.abc import Callable, Sequence
from functools import partial

from ddpm_core.metrics.frechet import FeatureStats
from flows.artifacts import Figure
from flows.metrics.extractors import EXTRACTORS, extractor_device, is_published
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import compared_features
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.statistics import read_stats, statistics_work
from infra.compute.device import fixed_threads
from infra.outputs.manifest import Manifest

# (samples, reference) -> their distance.
Distance = Callable[[FeatureStats, FeatureStats], float]


def distance_metric(
    name: str, about: str, distance: Distance, *, caution: str = "", published: tuple[str, str] | None = None
) -> Metric:
    """Return the metric of a distance between feature statistics; its figure is called `<name>_<extractor>`.

    Features of an extractor with weights from a file have many dimensions: if there are fewer images than these, the
    note warns that the distance is biased upward.

    Args:
        name: Of the distance, such as `fd`.
        about: The distance in words, such as "Fréchet distance".
        distance: Computes it from the sums over the samples' features and over the reference's.
        caution: A remark that stands behind the figure's note.
        published: The figure's name in the field, and in words, if the features are those of published weights; the
            caution is then left out.
    """
    return partial(_steps, partial(_measure, name, about, distance, caution, published))


def _steps(measure: Callable[[Subject, Sequence[Manifest]], Measured], subject: Subject) -> Steps:
    compared = compared_features(subject)
    sealed = yield list(compared)
    assert subject.extractor is not None, "a distance says that it uses the setting `extractor`"
    device = extractor_device(subject.extractor, subject.device)
    statistics = yield [
        statistics_work(
            FeatureRows(manifest=features, store=subject.store), label=f"{work.label}_statistics", device=device
        )
        for work, features in zip(compared, sealed, strict=True)
    ]
    return partial(measure, subject, statistics)


def _measure(
    name: str,
    about: str,
    distance: Distance,
    caution: str,
    published: tuple[str, str] | None,
    subject: Subject,
    sealed: Sequence[Manifest],
) -> Measured:
    reference, drawn = (read_stats(manifest, subject.store) for manifest in sealed)
    with fixed_threads(1):
        value = distance(drawn, reference)
    extractor = subject.extractor
    assert extractor is not None, "a distance says that it uses the setting `extractor`"
    full_name = f"{name}_{extractor}"
    if published is not None and is_published(extractor, subject.weights):
        (full_name, about), caution = published, ""
    note = f"{about} of {drawn.count:,} samples to {reference.count:,} training images{caution}"
    note += f"; {subject.about_features}" if subject.about_features else ""
    dimensions = len(drawn.total)
    if EXTRACTORS[extractor].file is not None and min(drawn.count, reference.count) < dimensions:
        note += f"; biased upward below {dimensions:,}"
    figure = Figure(name=full_name, value=value, label=full_name, note=note, headline=True)
    return Measured(figures=[figure], counts={"distance_samples": drawn.count})
