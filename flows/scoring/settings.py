"""The settings that a score uses, among all settings of a pipeline."""

from collections.abc import Collection, Sequence

from flows.metrics.choices import ExtractorName, MetricName
from flows.recipe.config import PipelineConfig
from flows.scoring.side import holds_images
from flows.stages.prepare.config import PrepareConfig

# A side's own path takes the place of the source, and all its images are taken.
_REPLACED = {"source", "test_source", "use_splits", "holdout", "labels", "label_depth"}
_ALWAYS_USED = {"workers", "threads", "device", "extractor"}


def unused_settings(
    sides: Sequence[str], config: PipelineConfig, given: Collection[str], metrics: Collection[MetricName]
) -> list[str]:
    """Return those settings that the user chose and that nothing uses, in the user's order.

    Args:
        sides: The texts that name the sides.
        config: All settings.
        given: The settings that the user chose, as in `evaluate.metrics`.
        metrics: The metrics to compute; empty for statistics alone.
    """
    used = {f"evaluate.{name}" for name in _used_in_evaluation(config.evaluate.extractor, metrics)}
    if any(path.startswith("prepare.") for path in given) and any(map(holds_images, sides)):
        resizing = set() if "prepare.image_size" in given else {"resize_filter"}
        names = set(PrepareConfig.model_fields) - _REPLACED - resizing - config.prepare.unused()
        used |= {f"prepare.{name}" for name in names}
    return [path for path in dict.fromkeys(given) if path not in used]


def _used_in_evaluation(extractor: ExtractorName, metrics: Collection[MetricName]) -> set[str]:
    used = _ALWAYS_USED | set(extractor.uses) | {setting for metric in metrics for setting in metric.uses}
    return used | ({"extractor_weights"} if extractor.file else set()) | ({"metrics"} if metrics else set())
