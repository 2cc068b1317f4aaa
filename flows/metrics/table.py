"""The metrics by name."""

from collections.abc import Mapping
from types import MappingProxyType

from ddpm_core.metrics.frechet import frechet_distance
from flows.metrics.authenticity import AUTH_PCT
from flows.metrics.choices import MetricName
from flows.metrics.distance import distance_metric
from flows.metrics.ema_lengths import LENGTHS
from flows.metrics.feature_likelihood import FLD_GAP
from flows.metrics.inception_score import INCEPTION_SCORE
from flows.metrics.kernel import KID
from flows.metrics.likelihood import LIKELIHOOD
from flows.metrics.manifold import DENSITY_COVERAGE, PRECISION_RECALL
from flows.metrics.memorisation import MEMORISED_SHARE
from flows.metrics.metric import Metric
from infra.features.inception.network import SPATIAL

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
        MetricName.KID: KID,
        MetricName.INCEPTION_SCORE: INCEPTION_SCORE,
        MetricName.SFD: distance_metric(
            "sfd",
            "Fréchet distance of the spatial layer",
            frechet_distance,
            layer=SPATIAL,
            caution=" (not an sFID)",
            published=("sfid", "Fréchet Inception distance of the spatial layer"),
        ),
        MetricName.PRECISION_RECALL: PRECISION_RECALL,
        MetricName.DENSITY_COVERAGE: DENSITY_COVERAGE,
        MetricName.AUTH_PCT: AUTH_PCT,
        MetricName.FLD_GAP: FLD_GAP,
        MetricName.MEMORISED: MEMORISED_SHARE,
        MetricName.EMA_LENGTHS: LENGTHS,
    }
)
