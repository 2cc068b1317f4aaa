"""The metrics by name."""

from flows.metrics.choices import MetricName
from flows.metrics.table import METRICS
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def test_each_name_has_a_metric() -> None:
    assert list(METRICS) == list(MetricName)


def test_metrics_rest_on_outputs_of_different_labels(tiny_run: TinyRun) -> None:
    """Two outputs of one label would stand for each other in the facts."""
    works = [work for metric in METRICS.values() for work in metric.works(subject(tiny_run))]
    labels = {work.plan.key: work.label for work in works}
    assert len(set(labels.values())) == len(labels)
