"""Measuring a subject: the chosen metrics through their steps, and their figures sealed with what they rest on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

from flows.artifacts import LEFT_OUT, Figure, Figures
from flows.metrics.choices import TO_STATISTICS, MetricName
from flows.metrics.extractors import EXTRACTORS, accuracy_of, fitted_images_of
from flows.metrics.features import TooFewError
from flows.metrics.metric import Measured, Subject, merged, noting, run_metrics
from flows.metrics.table import METRICS
from flows.metrics.together import Work, seal_together
from flows.nodes.environment import Environment, environment_here
from flows.nodes.survey import Survey
from flows.provenance import FACT, provenance_of
from flows.stage import Context
from infra.compute.units import Workers
from infra.digests import Json, canonical_json
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan


def too_few_images(metrics: Collection[MetricName], subject: Subject) -> dict[MetricName, str]:
    """Return the metrics that have too few images, and why; each counts them before its first step."""
    found = {}
    for name in metrics:
        try:
            next(METRICS[name](subject))
        except TooFewError as error:
            found[name] = error.cause
    return found


def measure(
    subject: Subject,
    chosen: Collection[MetricName],
    context: Context,
    *,
    stage: str,
    format_version: int,
    workers: Callable[[str], Workers],
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Figures:
    """Compute the figures of the chosen metrics, in the order of their table, or find them sealed.

    Args:
        subject: The images and the network.
        chosen: The metrics.
        context: The outside world.
        stage: The folder of the figures, and the name of the work in errors.
        format_version: Of the figures.
        workers: Gives the pool for a device, `cuda` or `cpu`.
        left_out: What was asked for and is not computed, with the reason, which the figures name.

    Raises:
        ConfigError: If a metric has too few images, or lacks some.
    """
    metrics = {name: METRICS[name] for name in METRICS if name in chosen}

    def seal(works: Sequence[Work]) -> list[Manifest]:
        return seal_together(works, context, stage=stage, workers=workers)

    rest_on: dict[MetricName, list[Manifest]] = {name: [] for name in metrics}
    steps = [noting(metric(subject), rest_on[name]) for name, metric in metrics.items()]
    outputs, measures = run_metrics(steps, seal)
    if subject.statistics is not None and TO_STATISTICS & set(metrics):
        outputs["reference_statistics"] = subject.statistics
    plan = Plan(
        stage=stage,
        format_version=format_version,
        settings=subject.key
        | {"metrics": list(metrics), "outputs": [manifest.key for manifest in outputs.values()]}
        | ({LEFT_OUT: dict(left_out)} if left_out else {}),
        # If everything is left out, there are no outputs; the samples keep such figures of two runs apart.
        inputs={label: manifest.digest for label, manifest in outputs.items()}
        or {"images": subject.samples.images.digest},
    )

    def make(output: Output, _: Survey) -> Manifest:
        measured = {name: figures() for name, figures in zip(metrics, measures, strict=True)}
        provenance = _provenance(subject, measured, rest_on)
        return _seal(
            output, measured, subject, outputs, {FACT: provenance} | ({LEFT_OUT: dict(left_out)} if left_out else {})
        )

    manifest, reused = context.sealed(plan, {}, lambda: Environment(work="measuring"), make)
    return Figures.of(manifest, reused=reused)


def _accuracy(subject: Subject) -> list[Figure]:
    """The accuracy of a fitted extractor, as a figure beside those that rest on it."""
    accuracy = accuracy_of(subject.weights)
    if accuracy is None:
        return []
    name = f"accuracy_{subject.extractor}"
    note = f"share of {accuracy.images:,} held-out images that the {subject.extractor} of the features gets right"
    fitted = fitted_images_of(subject.weights)
    if fitted is not None and subject.reference is not None:
        note += f"; it was fitted to {fitted:,} of {subject.reference.count:,} {subject.reference.name}"
    error, terms = accuracy.standard_error, accuracy.images
    return [Figure(name=name, value=accuracy.share, standard_error=error, terms=terms, label=name, note=note)]


def _provenance(
    subject: Subject, measured: Mapping[MetricName, Measured], rest_on: Mapping[MetricName, Sequence[Manifest]]
) -> list[Json]:
    """Return the provenance of the figures, in the order of the metrics, then that of an accuracy.

    The figures of a metric share theirs, but for those that rest on some of its outputs alone.
    """
    sides = [side.images for side in (subject.samples, subject.reference, subject.held_out) if side is not None]
    roles = {subject.samples.images.digest: "samples"}
    if subject.reference is not None:
        roles.setdefault(subject.reference.images.digest, "reference")
    known = [artifact.manifest(subject.store) for artifact in [*sides, *(subject.trained or ())]]
    known += [manifest for manifests in rest_on.values() for manifest in manifests]
    known += [subject.weights] if subject.weights else []
    rules = {"features": EXTRACTORS[subject.extractor].rule} if subject.extractor else {}
    file = subject.statistics
    replaced = {"reference": f"statistics of features from a file, sealed with digest {file.digest}"} if file else {}

    environment = environment_here("measuring")

    environment = environment_here("measuring")

    def part(
        figures: Sequence[str],
        outputs: Sequence[Manifest],
        uses: Sequence[str],
        counts: Mapping[str, int],
        more_rules: Mapping[str, str] = MappingProxyType({}),
    ) -> Json:
        return provenance_of(
            figures,
            rests_on=outputs,
            known=known,
            counts=counts,
            settings={setting: subject.settings[setting] for setting in uses if setting in subject.settings},
            rules={step: rule for step, rule in rules.items() if rule and "extractor" in uses} | dict(more_rules),
            environment=environment,
            roles=roles,
        ).as_json()

    parts = [
        part(figures, outputs, name.uses, found.counts, replaced if name in TO_STATISTICS else {})
        for name, found in measured.items()
        for figures, outputs in _groups(found, rest_on[name])
    ]
    accuracy = [figure.name for figure in _accuracy(subject)]
    return parts + ([part(accuracy, [subject.weights], ["extractor"], {})] if accuracy and subject.weights else [])


def _groups(measured: Measured, outputs: Sequence[Manifest]) -> list[tuple[Sequence[str], Sequence[Manifest]]]:
    """Return the names of a metric's figures in groups, each with the outputs that it rests on; all of them first."""
    apart = {name for names, _ in measured.apart for name in names}
    return [([one.name for one in measured.figures if one.name not in apart], outputs), *measured.apart]


def _seal(
    output: Output,
    by_metric: Mapping[MetricName, Measured],
    subject: Subject,
    outputs: Mapping[str, Manifest],
    more: Json,
) -> Manifest:
    """Seal the figures, and more facts; their values are units, since only units are in the digest."""
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
        **more,
    }
    return output.seal({}, units, facts)
