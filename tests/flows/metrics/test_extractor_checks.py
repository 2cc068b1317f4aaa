"""Metrics that an extractor cannot serve are refused before anything is computed."""

import pytest

from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.extractor_checks import check_metrics
from infra.errors import ConfigError


def test_metrics_that_an_extractor_cannot_serve_are_one_line() -> None:
    for metric, lack in ((MetricName.INCEPTION_SCORE, "no classes"), (MetricName.SFD, "no spatial layer")):
        with pytest.raises(ConfigError, match=f"{metric} needs another extractor: pixels has {lack}") as caught:
            check_metrics(ExtractorName.PIXELS, [MetricName.FD, metric])
        assert caught.value.item == "evaluate.metrics"
        assert f"leave {metric} out" in caught.value.remedy
    check_metrics(ExtractorName.CLASSIFIER, [MetricName.INCEPTION_SCORE, MetricName.KID])
    check_metrics(ExtractorName.INCEPTION, list(MetricName))
    with pytest.raises(ConfigError, match="classifier has no spatial layer"):
        check_metrics(ExtractorName.CLASSIFIER, [MetricName.SFD])
