"""Evaluate: samples and held-out images to the figures of the chosen metrics.

Results that do not depend on each other have keys of their own: each likelihood, the reference's features, the samples'
features, the extractor's weights. More samples draw and compare; they measure no likelihood.
"""

from flows.artifacts import Dataset, Figures, Samples, Snapshot
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.extractor_checks import check_metrics
from flows.metrics.extractors import EXTRACTORS, accuracy_of, is_fitted, sealed_weights, settled_extractor
from flows.metrics.features import NONE_HELD_OUT
from flows.metrics.measuring import measure, too_few_images
from flows.metrics.metric import ImageSet, Subject
from flows.metrics.reference_file import sealed_reference
from flows.stage import Context
from flows.stages.evaluate.config import EvaluateConfig
from infra.compute.units import workers_on
from infra.errors import ConfigError
from infra.outputs.manifest import Manifest

STAGE = "evaluate"
FORMAT_VERSION = 6


def evaluate(
    config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context
) -> Figures:
    """Compute the figures of the chosen metrics, in the order of their table.

    A distance compares the samples with the training split in the features of an extractor; the figure carries the
    extractor's name. Likelihoods are of held-out images, with the network in float32: the bound over all T timesteps of
    the training chain, or estimated without bias from some of them, for both fixed variances, and the learned one if
    there is one, from the same network calls; and the bound by the probability-flow ODE. A metric that has too few
    training, held-out or drawn images is left out, and the figures say why.

    Raises:
        ConfigError: If the extractor learns from labels and the data has none.
        InputError: If the file of the extractor's weights is not there, damaged or another.
    """
    subject = _subject(config, dataset, snapshot, samples, context)
    left_out = {name.value: why for name, why in too_few_images(config.metrics, subject).items()}
    metrics = [name for name in config.metrics if name not in left_out]
    if is_fitted(subject.weights) and accuracy_of(subject.weights) is None:
        left_out[f"accuracy_{subject.extractor}"] = _why_unknown(dataset)
    return measure(
        subject,
        metrics,
        context,
        stage=STAGE,
        format_version=FORMAT_VERSION,
        workers=lambda device: workers_on(device, config.workers, config.threads),
        left_out=left_out,
    )


def _subject(
    config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context
) -> Subject:
    unused, key, extractor, weights, about = config.unused(), config.key_settings(), None, None, ""
    settings = {name: value for name, value in config.result_settings().items() if name not in unused}
    if "extractor" not in unused:
        extractor, weights, about = settled_features(config, dataset, context)
        check_metrics(extractor, config.metrics)
        settings["extractor"] = key["extractor"] = extractor.value
    return Subject(
        samples=ImageSet(images=samples, split="samples", count=samples.count, name="samples"),
        reference=ImageSet(images=dataset, split="train", count=dataset.train_images, name="training images"),
        held_out=ImageSet(images=dataset, split="test", count=dataset.test_images, name="held-out images"),
        statistics=_statistics(config, extractor, weights, context),
        trained=(snapshot, dataset),
        settings=settings,
        key=key,
        extractor=extractor,
        weights=weights,
        device=config.device,
        store=context.store,
        about_features=about,
    )


def _statistics(
    config: EvaluateConfig, extractor: ExtractorName | None, weights: Manifest | None, context: Context
) -> Manifest | None:
    if extractor is None or not config.reference_statistics:
        return None
    return sealed_reference(config.reference_statistics, extractor, weights, context)


def _why_unknown(dataset: Dataset) -> str:
    """The reason why the accuracy of a classifier is not known."""
    return "no held-out image has a class" if dataset.test_images else NONE_HELD_OUT


def needs_a_fit(config: EvaluateConfig, extractor: ExtractorName) -> bool:
    """Tell whether an extractor is fitted to the data and the run has to end if it learns nothing.

    Args:
        config: The settings.
        extractor: The one that they name, or that `auto` would take.
    """
    return EXTRACTORS[extractor].fit is not None and (
        config.extractor == extractor or MetricName.INCEPTION_SCORE in config.metrics
    )


def settled_features(
    config: EvaluateConfig, dataset: Dataset, context: Context
) -> tuple[ExtractorName, Manifest | None, str]:
    """Return the extractor, its weights, and a remark on it; `auto` takes no classifier that has learned nothing.

    Raises:
        ConfigError: If a classifier was chosen, or a metric needs its classes, and it has learned nothing.
    """
    extractor = settled_extractor(config.extractor, dataset)
    weights = sealed_weights(
        extractor,
        dataset,
        threads=config.threads,
        context=context,
        file=config.extractor_weights,
        digest=config.extractor_sha256,
    )
    accuracy = accuracy_of(weights)
    if accuracy is None:
        return extractor, weights, f"its accuracy is not known: {_why_unknown(dataset)}" if is_fitted(weights) else ""
    right = f"the {extractor} is right for {accuracy.share:.0%} of {accuracy.images:,} held-out images"
    if not accuracy.near_chance:
        return extractor, weights, right
    cause = f"{right}, near the {accuracy.largest_class / accuracy.images:.0%} of its largest class"
    if not needs_a_fit(config, extractor):
        return ExtractorName.PIXELS, None, f"pixels, since {cause}"
    needing = MetricName.INCEPTION_SCORE in config.metrics
    raise ConfigError(
        f"{cause}: its features tell nothing",
        item="evaluate.extractor",
        stage=STAGE,
        remedy=f"set evaluate.extractor={ExtractorName.PIXELS}"
        + (f" and leave {MetricName.INCEPTION_SCORE} out of the metrics" if needing else ""),
    )
