"""Statistics of reference features from a file and into one, in the form that other programs read and write."""

from collections.abc import Collection
from typing import Any

import torch

from ddpm_core.metrics.frechet import FeatureStats
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.statistics import STAGE, encode_stats, read_stats
from flows.nodes.environment import Environment
from flows.nodes.survey import Survey
from flows.stage import Context
from infra.digests import sha256
from infra.errors import InputError
from infra.features.statistics_file import (
    StatisticsFile,
    decode_statistics,
    encode_statistics,
    is_statistics_file,
)
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.storage.open import open_file, read_file
from infra.storage.store import Store

_FORMAT_VERSION = 1
_MAX_BYTES = 1 << 30
# A covariance is one whatever the number of images, which files of other programs do not have.
_UNKNOWN = 2


def is_reference_file(file: str) -> bool:
    """Tell whether the file at a path or URI is there and is an archive with a mean and a covariance.

    Images in an archive may be many; of a file on S3 only the list of its members is fetched.
    """
    try:
        with open_file(file) as opened:
            return is_statistics_file(opened)
    except InputError:
        return False


def read_reference(file: str) -> tuple[StatisticsFile, str]:
    """Return the statistics in a file at a path or URI, and the file's digest.

    Raises:
        InputError: If the file is not there or holds something else.
    """
    data = read_file(file, _MAX_BYTES)
    return decode_statistics(data, file), sha256(data)


def check_reference(file: str, extractor: ExtractorName, metrics: Collection[MetricName]) -> None:
    """Check what can be known of a file of statistics before anything is computed.

    Args:
        file: Path or URI of the file.
        extractor: Of the features to compare with them.
        metrics: The chosen metrics.

    Raises:
        InputError: If the file is not there, holds something else or is of another extractor, or a metric needs the
            statistics of another layer.
    """
    found, _ = read_reference(file)
    _check_extractor(found.about, extractor, file)
    if MetricName.SFD in metrics:
        raise InputError(
            "has no statistics of the spatial layer", item=file, remedy=f"leave {MetricName.SFD} out of the metrics"
        )


def sealed_reference(file: str, extractor: ExtractorName, weights: Manifest | None, context: Context) -> Manifest:
    """Seal the statistics in a file, or find them sealed. Their key is the file's digest alone.

    Args:
        file: Path or URI of the file.
        extractor: Of the features to compare with them.
        weights: Sealed, of an extractor that has some.
        context: The outside world.

    Raises:
        InputError: If the file is not there or holds something else, or says that it is of other features.
    """
    found, digest = read_reference(file)
    _check_origin(found.about, extractor, weights, file)
    count = found.about.get("count", 0)
    if not isinstance(count, int) or count == 1 or count < 0:
        raise InputError(f"says that it is of {count!r} images", item=file)
    plan = Plan(stage=STAGE, format_version=_FORMAT_VERSION, settings={}, inputs={"file": digest})

    def make(output: Output, _: Survey) -> Manifest:
        stats = FeatureStats.of_moments(count or _UNKNOWN, found.mean, found.covariance)
        record = output.commit("units/000000", "safetensors", encode_stats(stats), {})
        facts = {"images": count, "dimensions": len(found.mean), "file": file, "about": found.about}
        return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], facts)

    return context.sealed(plan, {}, lambda: Environment(work="measuring"), make)[0]


def statistics_bytes(
    statistics: Manifest, extractor: ExtractorName, weights: Manifest | None, images: str, store: Store
) -> bytes:
    """Return sealed statistics as the bytes of a file.

    Args:
        statistics: Sealed.
        extractor: Of their features.
        weights: Sealed, of an extractor that has some.
        images: The digest of the images.
        store: Where all of it is.
    """
    stats = read_stats(statistics, store)
    about = {
        "count": stats.count,
        "extractor": extractor.value,
        "weights": weights.digest if weights else "",
        "images": images,
    }
    covariance = (stats.covariance + stats.covariance.T) / 2
    return encode_statistics(StatisticsFile(mean=stats.mean, covariance=covariance.to(torch.float64), about=about))


def _check_origin(about: dict[str, Any], extractor: ExtractorName, weights: Manifest | None, file: str) -> None:
    """Refuse statistics of ours that are of another extractor; those of other programs do not name theirs."""
    _check_extractor(about, extractor, file)
    if about and about.get("weights") != (weights.digest if weights else ""):
        raise InputError(f"has statistics of {extractor} with other weights", item=file, remedy="take the same weights")


def _check_extractor(about: dict[str, Any], extractor: ExtractorName, file: str) -> None:
    if about and about.get("extractor") != extractor.value:
        cause = f"has statistics of the extractor {about.get('extractor')}, not {extractor}"
        raise InputError(cause, item=file, remedy="choose the same extractor")
