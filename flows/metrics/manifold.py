"""Precision and recall, density and coverage of the samples, from balls around the features of both sides."""

from functools import partial

from ddpm_core.metrics.manifold import DENSITY_K, PRECISION_K, coverage, density, expected_coverage, precision
from flows.metrics.features import check_count, compared_features
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.neighbours import NEIGHBOURS, balls_work, neighbours_work
from flows.metrics.sides import Side, named_figure, rows_of
from flows.metrics.tensor_units import read_columns
from infra.outputs.manifest import Manifest


def _precision_recall_steps(subject: Subject) -> Steps:
    _check(subject, "precision and recall")
    sealed = yield list(compared_features(subject))
    rows = rows_of(subject, sealed)
    reference, samples = (Side.REFERENCE, rows[0]), (Side.SAMPLES, rows[1])
    neighbours = yield [neighbours_work(subject, reference, reference), neighbours_work(subject, samples, samples)]
    balls = yield [
        balls_work(subject, samples, reference, neighbours[0]),
        balls_work(subject, reference, samples, neighbours[1]),
    ]
    return partial(_precision_recall, subject, *balls)


def _precision_recall(subject: Subject, of_samples: Manifest, of_reference: Manifest) -> Measured:
    sample_balls, reference_balls = (
        read_columns(manifest, subject.store)["precise"] for manifest in (of_samples, of_reference)
    )
    of_both = f"{subject.samples_count} and {subject.reference_count}, k = {PRECISION_K}"
    return Measured(
        figures=[
            named_figure(
                subject,
                "precision",
                precision(sample_balls),
                f"share of the samples within the reference's manifold: {of_both}",
            ),
            named_figure(
                subject,
                "recall",
                precision(reference_balls),
                f"share of the reference within the samples' manifold: {of_both}",
            ),
        ],
    )


def _density_coverage_steps(subject: Subject) -> Steps:
    _check(subject, "density and coverage")
    sealed = yield list(compared_features(subject))
    rows = rows_of(subject, sealed)
    reference, samples = (Side.REFERENCE, rows[0]), (Side.SAMPLES, rows[1])
    within, across = yield [
        neighbours_work(subject, reference, reference),
        neighbours_work(subject, reference, samples),
    ]
    (balls,) = yield [balls_work(subject, samples, reference, within)]
    return partial(_density_coverage, subject, within, across, balls)


def _density_coverage(subject: Subject, within: Manifest, across: Manifest, balls: Manifest) -> Measured:
    radii = read_columns(within, subject.store)["squared_distances"][:, DENSITY_K - 1]
    nearest = read_columns(across, subject.store)["squared_distances"][:, 0]
    counts = read_columns(balls, subject.store)["dense"]
    of_both = f"{subject.samples_count} and {subject.reference_count}, k = {DENSITY_K}"
    alike = expected_coverage(len(counts), len(radii))
    return Measured(
        figures=[
            named_figure(
                subject,
                "density",
                density(counts),
                f"the reference's balls around a sample, 1 if both sides are alike: {of_both}",
            ),
            named_figure(
                subject,
                "coverage",
                coverage(nearest, radii),
                f"share of the reference with a sample in the ball, {alike:.3f} if both sides are alike: {of_both}",
            ),
        ],
    )


def _check(subject: Subject, metric: str) -> None:
    check_count(metric, NEIGHBOURS + 1, [subject.reference, subject.samples])


PRECISION_RECALL: Metric = _precision_recall_steps
DENSITY_COVERAGE: Metric = _density_coverage_steps
