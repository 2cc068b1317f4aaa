"""Distances between the features of the samples and of the training split, from their sums."""

from dataclasses import dataclass
from functools import partial

from ddpm_core.metrics.estimate import Estimate
from flows.artifacts import Figure
from flows.metrics.extractors import EXTRACTORS, extractor_device, extractor_label, is_published
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import compared_features
from flows.metrics.left_out import Distance, LeftOutDistances, is_wide_enough, left_out_work, read_jackknife
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.statistics import read_stats, statistics_work
from infra.compute.device import fixed_threads
from infra.features.extractor import FEATURES
from infra.outputs.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A kind of distance, as `distance_metric` takes it."""

    name: str
    about: str
    distance: Distance
    layer: str
    caution: str
    published: tuple[str, str] | None


def distance_metric(
    name: str,
    about: str,
    distance: Distance,
    *,
    layer: str = FEATURES,
    caution: str = "",
    published: tuple[str, str] | None = None,
) -> Metric:
    """Return the metric of a distance between feature statistics; its figure is called `<name>_<extractor>`.

    If there are more samples than dimensions, the figure has a standard error by the jackknife over random groups of
    samples, the reference held fixed, and a second figure `<name>_<extractor>_infinity` is the distance without its
    bias of order 1/N. Features of an extractor with weights from a file have many dimensions: if there are fewer images
    than these, the note warns that the distance is biased upward.

    Args:
        name: Of the distance, such as `fd`.
        about: The distance in words, such as "Fréchet distance".
        distance: Computes it from the sums over the samples' features and over the reference's.
        layer: Of the extractor.
        caution: A remark that stands behind the figure's note.
        published: The figure's name in the field, and in words, if the features are Inception's with published weights;
            the caution is then left out.
    """
    kind = _Kind(name=name, about=about, distance=distance, layer=layer, caution=caution, published=published)
    return partial(_steps, kind)


def _steps(kind: _Kind, subject: Subject) -> Steps:
    compared = compared_features(subject)
    sealed = yield list(compared)
    assert subject.extractor is not None, "a distance says that it uses the setting `extractor`"
    device = extractor_device(subject.extractor, subject.device)
    rows = [FeatureRows(manifest=features, store=subject.store, layer=kind.layer) for features in sealed]
    layer = "" if kind.layer == FEATURES else f"_{kind.layer}"
    reference, samples = yield [
        statistics_work(features, label=f"{work.label}{layer}_statistics", device=device)
        for work, features in zip(compared, rows, strict=True)
    ]
    left_out: Manifest | None = None
    if is_wide_enough(rows[1].count, rows[1].dimensions):
        compute = LeftOutDistances(
            name=kind.name,
            distance=kind.distance,
            samples=rows[1],
            samples_statistics=samples,
            reference_statistics=reference,
            seed=subject.settings["seed"],
        )
        (left_out,) = yield [left_out_work(subject, compute)]
    return partial(_measure, kind, subject, reference, samples, left_out)


def _measure(
    kind: _Kind, subject: Subject, of_reference: Manifest, of_samples: Manifest, left_out: Manifest | None
) -> Measured:
    reference, drawn = (read_stats(manifest, subject.store) for manifest in (of_reference, of_samples))
    with fixed_threads(1):
        value = kind.distance(drawn, reference)
    extractor = subject.extractor
    assert extractor is not None, "a distance says that it uses the setting `extractor`"
    full_name, about, caution = f"{kind.name}_{extractor_label(extractor, subject.weights)}", kind.about, kind.caution
    if kind.published is not None and is_published(extractor, subject.weights):
        (full_name, about), caution = kind.published, ""
    note = f"{about} of {drawn.count:,} samples to {reference.count:,} training images{caution}"
    note += f"; {subject.about_features}" if subject.about_features else ""
    dimensions = len(drawn.total)
    if EXTRACTORS[extractor].file is not None and min(drawn.count, reference.count) < dimensions:
        note += f"; biased upward below {dimensions:,}"
    found, limits = Estimate(value, None), []
    if left_out is not None:
        known = read_jackknife(value, left_out, subject.store)
        found = Estimate(value, known.standard_error)
        limit_name = f"{full_name}_infinity"
        limits = [
            Figure(
                name=limit_name,
                value=known.corrected,
                standard_error=known.standard_error,
                label=limit_name,
                note=f"{about} of infinitely many samples to {reference.count:,} training images, by the jackknife",
            )
        ]
    figure = Figure(
        name=full_name,
        value=found.value,
        standard_error=found.standard_error,
        label=full_name,
        note=note,
        headline=True,
    )
    return Measured(figures=[figure, *limits], counts={"distance_samples": drawn.count})
