"""A finished run as the subject of metrics."""

from typing import Any

from flows.metrics.choices import ExtractorName
from flows.metrics.metric import Subject


def subject(run: Any, settings: dict[str, Any] | None = None) -> Subject:
    """The pixels of a finished run; its settings of the evaluation with some changed."""
    config = run.config.evaluate
    return Subject(
        dataset=run.dataset,
        snapshot=run.snapshot,
        samples=run.samples,
        settings=config.result_settings() | (settings or {}),
        key=config.key_settings() | (settings or {}),
        extractor=ExtractorName.PIXELS,
        weights=None,
        device="cpu",
        store=run.store,
    )
