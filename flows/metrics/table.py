"""The metrics by name."""

from collections.abc import Mapping
from types import MappingProxyType

from ddpm_core.metrics.frechet import frechet_distance
from flows.metrics.choices import MetricName
from flows.metrics.distance import distance_metric
from flows.metrics.likelihood import LIKELIHOOD
from flows.metrics.metric import Metric

METRICS: Mapping[MetricName, Metric] = MappingProxyType(
    {
        MetricName.FD: distance_metric(
            "fd",
            "Fréchet distance",
            frechet_distance,
            caution=" (not an FID)",
            published=("fid", "Fréchet Inception distance"),
        ),
        MetricName.BITS_PER_DIM: LIKELIHOOD,
    }
)
