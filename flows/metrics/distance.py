"""Distances between the features of the samples and of the training split, from their sums."""

from dataclasses import dataclass
from functools import partial

from ddpm_core.metrics.estimate import Estimate
from ddpm_core.metrics.jackknife import GROUPS
from flows.artifacts import Figure
from flows.metrics.extractors import EXTRACTORS, extractor_device, extractor_label, is_published
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import check_count, compared_features, sample_features
from flows.metrics.left_out import (
    Distance,
    LeftOutDistances,
    fewest_samples,
    is_wide_enough,
    left_out_work,
    read_jackknife,
)
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.statistics import read_stats, statistics_work
from infra.compute.device import fixed_threads
from infra.errors import InputError
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
    assert subject.extractor is not None, "a distance says that it uses the setting `extractor`"
    check_count("a distance", 2, [subject.samples])
    compared = [sample_features(subject)] if subject.statistics else list(compared_features(subject))
    sealed = yield compared
    device = extractor_device(subject.extractor, subject.device)
    rows = [FeatureRows(manifest=features, store=subject.store, layer=kind.layer) for features in sealed]
    layer = "" if kind.layer == FEATURES else f"_{kind.layer}"
    statistics = yield [
        statistics_work(features, label=f"{work.label}{layer}_statistics", device=device)
        for work, features in zip(compared, rows, strict=True)
    ]
    reference = _imported(kind, subject, rows[-1].dimensions) if subject.statistics else statistics[0]
    left_out: Manifest | None = None
    if is_wide_enough(rows[-1].count, rows[-1].dimensions):
        compute = LeftOutDistances(
            name=kind.name,
            distance=kind.distance,
            samples=rows[-1],
            samples_statistics=statistics[-1],
            reference_statistics=reference,
            seed=subject.settings["seed"],
        )
        (left_out,) = yield [left_out_work(subject, compute)]
    return partial(_measure, kind, subject, reference, statistics[-1], left_out)


def _imported(kind: _Kind, subject: Subject, dimensions: int) -> Manifest:
    """Return the statistics from a file, if they are of this distance's features."""
    statistics = subject.statistics
    assert statistics is not None, "there is a file"
    found = statistics.facts["dimensions"]
    if kind.layer != FEATURES or found != dimensions:
        cause = f"has the statistics of {found} features, and {kind.name} of {subject.extractor} compares {dimensions}"
        raise InputError(
            cause if kind.layer == FEATURES else f"has no statistics of the layer {kind.layer}",
            item="reference statistics",
            remedy="take the file's own extractor, or leave the metric out",
        )
    return statistics


def _reference_count(subject: Subject) -> str:
    """The number and the name of what this metric alone compares with: a file's statistics, if one was given."""
    if subject.statistics is None:
        return subject.reference_count
    count = subject.statistics.facts["images"]
    return f"the statistics of {count:,} images" if count else "statistics of an unknown number of images"


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
    note = f"{about} of {subject.samples_count} to {_reference_count(subject)}{caution}"
    note += f"; {subject.about_features}" if subject.about_features else ""
    dimensions = len(drawn.total)
    known = subject.statistics.facts["images"] if subject.statistics else reference.count
    if EXTRACTORS[extractor].file is not None and min(drawn.count, known or dimensions) < dimensions:
        note += f"; biased upward below {dimensions:,}"
    found, limits, needs = Estimate(value, None), [], ""
    if left_out is None:
        needs = f"{fewest_samples(dimensions):,} {subject.samples.name}"
        note += f"; a standard error needs {needs}"
    else:
        jackknife = read_jackknife(value, left_out, subject.store)
        found = Estimate(value, jackknife.standard_error, GROUPS)
        limit_name = f"{full_name}_infinity"
        limits = [
            Figure(
                name=limit_name,
                value=jackknife.corrected,
                standard_error=jackknife.standard_error,
                terms=GROUPS,
                label=limit_name,
                note=f"{about} without its bias, as of unlimited {subject.samples.name}, by the jackknife{caution}",
            )
        ]
    figure = Figure(
        name=full_name,
        value=found.value,
        standard_error=found.standard_error,
        terms=found.terms,
        error_needs=needs,
        label=full_name,
        note=note,
        headline=True,
    )
    return Measured(figures=[figure, *limits], counts={"distance_samples": drawn.count})
