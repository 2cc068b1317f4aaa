"""The metrics by name."""

from flows.metrics.choices import MetricName
from flows.metrics.table import METRICS
from flows.metrics.together import Work
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import measured, subject


def test_each_name_has_a_metric() -> None:
    assert list(METRICS) == list(MetricName)


def test_metrics_rest_on_outputs_of_different_labels(tiny_run: TinyRun) -> None:
    """Two outputs of one label would stand for each other in the facts."""
    works: list[Work] = []
    for name, metric in METRICS.items():
        if name in (MetricName.INCEPTION_SCORE, MetricName.SFD):
            continue  # pixels have neither classes nor places
        measured(metric, subject(tiny_run), tiny_run.context, on_works=works.extend)
    labels = {work.plan.key: work.label for work in works}
    assert len(set(labels.values())) == len(labels)
