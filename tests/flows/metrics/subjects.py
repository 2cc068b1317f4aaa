"""A finished run as the subject of metrics."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from flows.metrics.choices import ExtractorName
from flows.metrics.metric import Measured, Metric, Subject, run_metrics
from flows.metrics.together import Work, seal_together
from flows.stage import Context
from infra.compute.units import Workers
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Plan
from infra.outputs.tensors import encode_tensors


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


def measured(
    metric: Metric, about: Subject, context: Context, on_works: Callable[[Sequence[Work]], object] = len
) -> Measured:
    """The figures of a metric; `on_works` sees the outputs of each of its steps."""

    def seal(works: Sequence[Work]) -> list[Manifest]:
        if works:
            on_works(works)
        return seal_together(works, context, stage="evaluate", workers=lambda _: Workers())

    _, (measure,) = run_metrics([metric(about)], seal)
    return measure()


def sealed_features(context: Context, layers: dict[str, Tensor], *, unit: int) -> Manifest:
    """An output of features with these rows, some per unit."""
    output = context.output(Plan(stage="features", format_version=0, settings={"unit": unit}, inputs={}))
    output.begin({})
    count = len(next(iter(layers.values())))
    units = []
    for number, start in enumerate(range(0, count, unit)):
        part = {layer: rows[start : start + unit] for layer, rows in layers.items()}
        record = output.commit(f"units/{number:06d}", "safetensors", encode_tensors(part, {}), {})
        units.append({"unit": number, "rows": min(unit, count - start), **record.as_json()})
    return output.seal({}, units, {"images": count})
