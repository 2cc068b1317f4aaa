"""AuthPct: the percentage of samples that are no copies of training images."""

from functools import partial

from ddpm_core.metrics.authenticity import authentic_percentage
from ddpm_core.metrics.neighbours import Neighbours
from flows.metrics.choices import MetricName
from flows.metrics.features import check_count, compared_features
from flows.metrics.metric import Measured, Metric, Steps, Subject
from flows.metrics.neighbours import NEIGHBOURS, neighbours_work
from flows.metrics.sides import Side, named_figure, rows_of
from flows.metrics.tensor_units import read_columns
from infra.outputs.manifest import Manifest


def _steps(subject: Subject) -> Steps:
    check_count("AuthPct", NEIGHBOURS + 1, [subject.reference])
    sealed = yield list(compared_features(subject))
    rows = rows_of(subject, sealed)
    reference, samples = (Side.REFERENCE, rows[0]), (Side.SAMPLES, rows[1])
    within, across = yield [
        neighbours_work(subject, reference, reference),
        neighbours_work(subject, samples, reference),
    ]
    return partial(_measure, subject, within, across)


def _measure(subject: Subject, within: Manifest, across: Manifest) -> Measured:
    own = read_columns(within, subject.store)["squared_distances"][:, 0]
    nearest = read_columns(across, subject.store)
    found = authentic_percentage(Neighbours(squared_distances=nearest["squared_distances"], rows=nearest["rows"]), own)
    note = (
        f"percentage of {len(nearest['rows']):,} {subject.samples.name} farther from the nearest of "
        f"{subject.reference_count} than that one is from its own nearest; copies lower it"
    )
    return Measured(figures=[named_figure(subject, MetricName.AUTH_PCT.value, found, note)])


AUTH_PCT: Metric = _steps
