"""The metrics of any two collections of images, without a run."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

from ddpm_core.network.image_size import size_text
from flows.artifacts import Figures
from flows.metrics.choices import TO_STATISTICS, ExtractorName, MetricName
from flows.metrics.extractor_checks import check_metrics, try_extractor
from flows.metrics.extractors import EXTRACTORS, sealed_weights
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import needs_reference_images, sample_features
from flows.metrics.measuring import measure, too_few_images
from flows.metrics.metric import ImageSet, Subject
from flows.metrics.reference_file import check_reference, sealed_reference, statistics_bytes
from flows.metrics.statistics import statistics_work
from flows.metrics.together import Work, seal_together
from flows.recipe.config import PipelineConfig
from flows.scoring.side import Side, open_side, open_sides, statistics_file
from flows.stage import Context
from flows.stages.evaluate.config import EvaluateConfig
from infra.compute.units import workers_on
from infra.errors import ConfigError, InputError
from infra.outputs.manifest import Manifest

STAGE = "score"
FORMAT_VERSION = 2
# These compare two collections, whatever the extractor.
_ALWAYS = (
    MetricName.FD,
    MetricName.KID,
    MetricName.PRECISION_RECALL,
    MetricName.DENSITY_COVERAGE,
    MetricName.AUTH_PCT,
)
# These do with statistics of the reference, or with the samples alone.
_OF_STATISTICS = TO_STATISTICS | {MetricName.INCEPTION_SCORE}
# These need a network, or images held out from its training.
_OF_A_RUN = frozenset(set(MetricName) - {*_ALWAYS, MetricName.INCEPTION_SCORE, MetricName.SFD})


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The outcome of a score.

    Attributes:
        figures: Sealed below the root.
        metrics: The metrics that were computed.
        left_out: A line about each metric that no choice names and that has too few images.
    """

    figures: Figures
    metrics: tuple[MetricName, ...]
    left_out: tuple[str, ...] = ()


def metrics_of_images(extractor: ExtractorName) -> list[MetricName]:
    """Return all metrics that two collections of images can have with an extractor."""
    further = [MetricName.INCEPTION_SCORE, MetricName.SFD] if extractor == ExtractorName.INCEPTION else []
    return [*_ALWAYS, *further]


def score(samples: str, reference: str, config: PipelineConfig, given: Collection[str], context: Context) -> Scored:
    """Compare two collections of images.

    Args:
        samples: The images to judge, as `open_side` takes them.
        reference: The images to compare them with, or the file of their statistics.
        config: The settings of preparation and evaluation.
        given: The settings that the user chose, as in `evaluate.metrics`. Without metrics among them, all that two
            collections, their number of images and the extractor allow are computed.
        context: The outside world.

    Raises:
        ConfigError: If a metric needs a network or another extractor, or a side has too few images.
        InputError: If a side is not there, or is of another kind.
    """
    wanted = config.evaluate
    if statistics_file(samples):
        raise InputError("is a file of statistics", item=samples, remedy="give images first, and statistics second")
    # All that can be refused by the settings alone comes before the images, which may take hours.
    extractor, file = _extractor(wanted), statistics_file(reference)
    metrics = _metrics(wanted, given, extractor, only_statistics=bool(file))
    if file:
        check_reference(file, extractor, metrics)
    weights = _weights(wanted, extractor, context)
    statistics = sealed_reference(file, extractor, weights, context) if file else None
    on_shape = partial(try_extractor, extractor, weights, context.store)
    judged, against = open_sides(samples, reference, config.prepare, given, context, on_shape=on_shape)
    assert judged.images is not None, "it is no file of statistics"
    _check_channels(judged, against, reference)
    sizes = _sizes(judged, against, reference, extractor)
    subject = replace(
        _subject(wanted, judged.images, extractor, weights, context),
        reference=against.images,
        statistics=statistics,
        about_features=sizes,
    )
    left_out = {} if "evaluate.metrics" in given else too_few_images(metrics, subject)
    metrics = [name for name in metrics if name not in left_out]
    figures = measure(
        subject,
        metrics,
        context,
        stage=STAGE,
        format_version=FORMAT_VERSION,
        workers=lambda device: workers_on(device, wanted.workers, wanted.threads),
    )
    lines = tuple(f"{name} is left out: {cause}" for name, cause in left_out.items())
    return Scored(figures=figures, metrics=tuple(metrics), left_out=lines)


def collect_statistics(images: str, config: PipelineConfig, given: Collection[str], context: Context) -> bytes:
    """Return mean and covariance of the features of images, as the bytes of a file with mu and sigma.

    Args:
        images: As `open_side` takes them.
        config: The settings of preparation, and the extractor.
        given: The settings that the user chose.
        context: The outside world.

    Raises:
        InputError: If the images are not there.
    """
    if statistics_file(images):
        raise InputError("is a file of statistics already", item=images)
    wanted, extractor = config.evaluate, _extractor(config.evaluate)
    weights = _weights(wanted, extractor, context)
    on_shape = partial(try_extractor, extractor, weights, context.store)
    side = open_side(images, "images", config.prepare, given, context, on_shape=on_shape)
    assert side.images is not None, "it is no file of statistics"
    subject = _subject(wanted, side.images, extractor, weights, context)

    def seal(work: Work) -> Manifest:
        (manifest,) = seal_together(
            [work], context, stage=STAGE, workers=lambda device: workers_on(device, wanted.workers, wanted.threads)
        )
        return manifest

    rows = FeatureRows(manifest=seal(sample_features(subject)), store=context.store)
    statistics = seal(statistics_work(rows, label="statistics", device=subject.device))
    return statistics_bytes(statistics, extractor, weights, side.images.images.digest, context.store)


def _check_channels(judged: Side, against: Side, item: str) -> None:
    """Refuse grey images beside colour ones, whose pixels have other features."""
    found = {_channels(side): side for side in (judged, against) if side.dataset is not None}
    if len(found) > 1:
        raise InputError(
            f"has images of {_channels(against)} channels, and the other side has {_channels(judged)}",
            item=item,
            remedy="--set prepare.channels=3 takes a side that is no run's as colour, and 1 as grey",
        )


def _sizes(judged: Side, against: Side, item: str, extractor: ExtractorName) -> str:
    """Return a remark on sides of unlike size; empty if they are alike.

    Raises:
        InputError: If they are unlike and the features are pixels, which are not resized.
    """
    if against.images is None:
        return ""
    size, other = (side.dataset.image_size if side.dataset else 0 for side in (judged, against))
    if size == other:
        return ""
    if extractor == ExtractorName.PIXELS:
        raise InputError(
            f"has images of {size_text(other)} pixels, and the other side has {size_text(size)}",
            item=item,
            remedy="--set prepare.image_size=N resizes a side that is no run's",
        )
    return f"images of {size_text(size)} and reference images of {size_text(other)} pixels"


def _channels(side: Side) -> int:
    # Images with opacity are seen over white, as colour.
    return min(side.dataset.channels, 3) if side.dataset else 0


def _extractor(wanted: EvaluateConfig) -> ExtractorName:
    """Return the extractor; without a choice, the pixels, which need neither labels nor a file."""
    name = ExtractorName.PIXELS if wanted.extractor == ExtractorName.AUTO else wanted.extractor
    if EXTRACTORS[name].fit is not None:
        raise ConfigError(
            f"{name} learns from the labels of a run's data, and a score has none",
            item="evaluate.extractor",
            remedy=f"choose {ExtractorName.INCEPTION}, {ExtractorName.DINOV2} or {ExtractorName.PIXELS}",
        )
    return name


def _weights(wanted: EvaluateConfig, extractor: ExtractorName, context: Context) -> Manifest | None:
    """Return the extractor's weights, sealed."""
    return sealed_weights(
        extractor,
        None,
        threads=wanted.threads,
        context=context,
        file=wanted.extractor_weights,
        digest=wanted.extractor_sha256,
    )


def _metrics(
    wanted: EvaluateConfig, given: Collection[str], extractor: ExtractorName, *, only_statistics: bool
) -> list[MetricName]:
    if "evaluate.metrics" in given:
        of_a_run = [name for name in wanted.metrics if name in _OF_A_RUN]
        if of_a_run:
            raise ConfigError(
                f"{of_a_run[0]} needs a run's network or its held-out images",
                item="evaluate.metrics",
                remedy=f"leave it out; two collections have {', '.join(sorted(set(MetricName) - _OF_A_RUN))}",
            )
        check_metrics(extractor, wanted.metrics)
        needing = [name for name in wanted.metrics if name not in _OF_STATISTICS]
        if only_statistics and needing:
            raise needs_reference_images(needing[0])
        return wanted.metrics
    if only_statistics:
        return [MetricName.FD]
    return metrics_of_images(extractor)


def _subject(
    wanted: EvaluateConfig, images: ImageSet, extractor: ExtractorName, weights: Manifest | None, context: Context
) -> Subject:
    chosen = wanted.model_copy(update={"extractor": extractor})
    unused = chosen.unused()
    settings = {name: value for name, value in chosen.result_settings().items() if name not in unused}
    return Subject(
        samples=images,
        settings=settings | {"extractor": extractor.value},
        key=chosen.key_settings() | {"extractor": extractor.value},
        extractor=extractor,
        weights=weights,
        device=wanted.device,
        store=context.store,
    )
