"""A finished run as the subject of metrics."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from flows.metrics.choices import ExtractorName
from flows.metrics.metric import ImageSet, Measured, Metric, Subject, run_metrics
from flows.metrics.together import Work, seal_together
from flows.stage import Context
from infra.compute.units import Workers
from infra.digests import sha256
from infra.features.extractor import FEATURES
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Plan
from infra.outputs.tensors import encode_tensors


def subject(run: Any, settings: dict[str, Any] | None = None) -> Subject:
    """The pixels of a finished run; its settings of the evaluation with some changed."""
    config = run.config.evaluate
    return Subject(
        samples=ImageSet(images=run.samples, split="samples", count=run.samples.count, name="samples"),
        reference=ImageSet(images=run.dataset, split="train", count=run.dataset.train_images, name="training images"),
        held_out=ImageSet(images=run.dataset, split="test", count=run.dataset.test_images, name="held-out images"),
        trained=(run.snapshot, run.dataset),
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


def measured_on(
    metrics: Sequence[Metric], about: Subject, context: Context, sides: dict[str, Tensor], *, unit: int = 7
) -> tuple[list[Measured], list[Work]]:
    """The figures of metrics on features that stand for those of the sides' images, and the outputs they rest on."""
    works: list[Work] = []
    features = {name: sealed_features(context, {FEATURES: rows}, unit=unit) for name, rows in sides.items()}
    about = replace(
        about,
        **{
            name: replace(side, count=len(sides.get(name, ())))
            for name, side in {
                "reference": about.reference,
                "samples": about.samples,
                "held_out": about.held_out,
            }.items()
        },
    )

    def seal(needed: Sequence[Work]) -> list[Manifest]:
        later = [work for work in needed if work.plan.stage != "features"]
        works.extend(later)
        sealed = seal_together(later, context, stage="evaluate", workers=lambda _: Workers())
        found = {work.plan.key: manifest for work, manifest in zip(later, sealed, strict=True)}
        return [found.get(work.plan.key) or features[work.label] for work in needed]

    _, measures = run_metrics([metric(about) for metric in metrics], seal)
    return [measure() for measure in measures], works


def sealed_features(context: Context, layers: dict[str, Tensor], *, unit: int) -> Manifest:
    """An output of features with these rows, some per unit."""
    settings = {"unit": unit, "rows": sha256(encode_tensors(layers, {}))}
    output = context.output(Plan(stage="features", format_version=0, settings=settings, inputs={}))
    output.begin({})
    count = len(next(iter(layers.values())))
    units = []
    for number, start in enumerate(range(0, count, unit)):
        part = {layer: rows[start : start + unit] for layer, rows in layers.items()}
        record = output.commit(f"units/{number:06d}", "safetensors", encode_tensors(part, {}), {})
        units.append({"unit": number, "rows": min(unit, count - start), **record.as_json()})
    return output.seal({}, units, {"images": count})
