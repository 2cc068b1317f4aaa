"""Evaluate: samples and held-out images to the figures of the chosen metrics.

Results that do not depend on each other have keys of their own: each likelihood, the reference's features, the samples'
features, the extractor's weights. More samples draw and compare; they measure no likelihood.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.extractors import EXTRACTORS, accuracy_of, check_metrics, sealed_weights, settled_extractor
from flows.metrics.metric import ImageSet, Measured, Subject, merged, noting, run_metrics
from flows.metrics.reference_file import sealed_reference
from flows.metrics.table import METRICS
from flows.metrics.together import Work, seal_together
from flows.provenance import FACT, provenance_of
from flows.stage import Context
from flows.stages.evaluate.config import EvaluateConfig
from infra.compute.device import environment, pool, resolve_device
from infra.digests import Json, canonical_json
from infra.errors import ConfigError
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan

STAGE = "evaluate"
FORMAT_VERSION = 6


def evaluate(
    config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context
) -> Figures:
    """Compute the figures of the chosen metrics, in the order of their table.

    A distance compares the samples with the training split in the features of an extractor; the figure carries the
    extractor's name. Likelihoods are of held-out images, with the network in float32: the bound over all T timesteps of
    the training chain, or estimated without bias from some of them, for both fixed variances, and the learned one if
    there is one, from the same network calls; and the bound by the probability-flow ODE.

    Raises:
        ConfigError: If the extractor learns from labels and the data has none, or a distance has too few images.
        InputError: If the file of the extractor's weights is not there, damaged or another.
    """
    subject = _subject(config, dataset, snapshot, samples, context)
    metrics = {name: METRICS[name] for name in METRICS if name in config.metrics}

    def seal(works: Sequence[Work]) -> list[Manifest]:
        return seal_together(
            works, context, stage=STAGE, workers=lambda device: pool(config.workers, config.threads, device)
        )

    rest_on: dict[MetricName, list[Manifest]] = {name: [] for name in metrics}
    steps = [noting(metric(subject), rest_on[name]) for name, metric in metrics.items()]
    outputs, measures = run_metrics(steps, seal)
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=subject.key | {"metrics": list(metrics), "outputs": [manifest.key for manifest in outputs.values()]},
        inputs={label: manifest.digest for label, manifest in outputs.items()},
    )

    def make(output: Output) -> Manifest:
        measured = {name: measure() for name, measure in zip(metrics, measures, strict=True)}
        return _seal(output, measured, subject, outputs, _provenance(subject, measured, rest_on))

    manifest, reused = context.sealed(plan, {}, environment("cpu"), make)
    return Figures.of(manifest, reused=reused)


def _subject(
    config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context
) -> Subject:
    unused, key, extractor, weights, about = config.unused(), config.key_settings(), None, None, ""
    settings = {name: value for name, value in config.result_settings().items() if name not in unused}
    if "extractor" not in unused:
        extractor, weights, about = _features(config, dataset, context)
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
        device=resolve_device(config.device),
        store=context.store,
        about_features=about,
    )


def _statistics(
    config: EvaluateConfig, extractor: ExtractorName | None, weights: Manifest | None, context: Context
) -> Manifest | None:
    if extractor is None or not config.reference_statistics:
        return None
    return sealed_reference(config.reference_statistics, extractor, weights, context)


def _features(config: EvaluateConfig, dataset: Dataset, context: Context) -> tuple[ExtractorName, Manifest | None, str]:
    """Return the extractor, its weights, and a remark on it; `auto` takes no classifier that has learned nothing."""
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
        return extractor, weights, ""
    right = f"the {extractor} is right for {accuracy.share:.0%} of {accuracy.images:,} held-out images"
    if not accuracy.near_chance:
        return extractor, weights, right
    cause = f"{right}, near the {accuracy.largest_class / accuracy.images:.0%} of its largest class"
    if config.extractor == ExtractorName.AUTO:
        return ExtractorName.PIXELS, None, f"pixels, since {cause}"
    raise ConfigError(
        f"{cause}: its features tell nothing",
        item="evaluate.extractor",
        stage=STAGE,
        remedy=f"set evaluate.extractor={ExtractorName.PIXELS}",
    )


def _accuracy(subject: Subject) -> list[Figure]:
    """The accuracy of a fitted extractor, as a figure beside those that rest on it."""
    accuracy = accuracy_of(subject.weights)
    if accuracy is None:
        return []
    name = f"accuracy_{subject.extractor}"
    note = f"share of {accuracy.images:,} held-out images that the {subject.extractor} of the features gets right"
    return [Figure(name=name, value=accuracy.share, standard_error=accuracy.standard_error, label=name, note=note)]


def _provenance(
    subject: Subject, measured: Mapping[MetricName, Measured], rest_on: Mapping[MetricName, Sequence[Manifest]]
) -> list[Json]:
    """Return the provenance of each metric's figures, in the order of the metrics, then that of an accuracy."""
    known = [
        artifact.manifest(subject.store) for artifact in (subject.dataset, subject.snapshot, subject.samples.images)
    ]
    known += [manifest for manifests in rest_on.values() for manifest in manifests]
    known += [subject.weights] if subject.weights else []
    rules = {"features": EXTRACTORS[subject.extractor].rule} if subject.extractor else {}
    if subject.statistics:
        rules["reference"] = f"statistics of features from a file, sealed with digest {subject.statistics.digest}"

    def part(
        figures: Sequence[Figure], outputs: Sequence[Manifest], uses: Sequence[str], counts: Mapping[str, int]
    ) -> Json:
        return provenance_of(
            [figure.name for figure in figures],
            rests_on=outputs,
            known=known,
            counts=counts,
            settings={setting: subject.settings[setting] for setting in uses if setting in subject.settings},
            rules={step: rule for step, rule in rules.items() if rule and "extractor" in uses},
            environment=environment("cpu"),
        ).as_json()

    parts = [part(found.figures, rest_on[name], name.uses, found.counts) for name, found in measured.items()]
    accuracy = _accuracy(subject)
    return parts + ([part(accuracy, [subject.weights], ["extractor"], {})] if accuracy and subject.weights else [])


def _seal(
    output: Output,
    by_metric: Mapping[MetricName, Measured],
    subject: Subject,
    outputs: Mapping[str, Manifest],
    provenance: list[Json],
) -> Manifest:
    """Seal the figures; their values are units, since only units are in the digest."""
    measured = list(by_metric.values())
    figures = [figure for part in measured for figure in part.figures] + _accuracy(subject)
    values = {figure.name: [figure.value, figure.standard_error] for figure in figures}
    assert len(values) == len(figures), "two metrics give a figure the same name"
    files = merged("files", [{"figures": canonical_json(values)}, *(part.files for part in measured)])
    units = []
    for number, (name, data) in enumerate(files.items()):
        record = output.commit(name, "json", data, {"kind": name})
        units.append({"unit": number, "rows": 1, **record.as_json()})
    facts = {
        "figures": [asdict(figure) for figure in figures],
        "counts": merged("counts", [part.counts for part in measured]),
        "extractor": subject.key.get("extractor", ""),
        "settings": dict(subject.settings),
        "outputs": {label: manifest.folder for label, manifest in outputs.items()},
        FACT: provenance,
    }
    return output.seal({}, units, facts)
