"""Evaluate: samples and held-out images to a Fréchet distance and the bound on the negative log-likelihood."""

from dataclasses import dataclass
from typing import Any

import torch

from flows.artifacts import CURVES, Dataset, Figures, Samples, Snapshot
from flows.stage import Context, Progress
from flows.stages.evaluate.config import EvaluateConfig, ExtractorName
from flows.stages.evaluate.figures import has_all_terms, summarise, summarise_curves
from flows.stages.evaluate.units import EvaluateTask, Kind, Unit
from infra.compute.device import environment, fixed_threads, pool, resolve_device
from infra.digests import canonical_json
from infra.errors import ConfigError
from infra.features.classifier import accuracy, train_classifier
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from infra.outputs.plan import Output, Plan
from infra.outputs.tensors import decode_tensors, encode_tensors

STAGE = "evaluate"
FORMAT_VERSION = 4
FEATURES_STAGE = "features"
FEATURES_FORMAT_VERSION = 1
_FEATURE_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is evaluated."""

    dataset: Dataset
    snapshot: Snapshot
    samples: Samples


def evaluate(
    config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context
) -> Figures:
    """Compute the Fréchet distance of the samples to the training split and bits/dim on held-out images.

    The distance's features come from `fd_classifier`, trained on the data's own labels and sealed by itself, or from
    `fd_pixels`; the figure carries the extractor's name. The bound is computed, the network in float32, over all T
    timesteps of the training chain, or estimated without bias from some of them, for both fixed variances, and the
    learned one if there is one, from the same network calls.

    Raises:
        ConfigError: If labels are asked for and the data has none.
    """
    inputs = Inputs(dataset=dataset, snapshot=snapshot, samples=samples)
    extractor = extractor_name(config, dataset)
    device = resolve_device(config.device)
    resolved = config.model_copy(update={"extractor": extractor, "device": device})
    units = _units(resolved, inputs)
    features = _features(resolved, dataset, context, len(units)) if extractor == ExtractorName.FD_CLASSIFIER else None
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings=resolved.key_settings(),
        inputs={
            "dataset": dataset.digest,
            "snapshot": snapshot.digest,
            "samples": samples.digest,
            "features": features.digest if features else "",
        },
    )

    def make(output: Output) -> Manifest:
        _run(output, resolved, inputs, features, units, context)
        return _seal(output, resolved, inputs, units)

    manifest, reused = context.sealed(plan, {}, environment(device), make)
    return Figures(
        name=manifest.name,
        key=manifest.key,
        digest=manifest.digest,
        reused=reused,
        metrics=manifest.facts["metrics"],
        extractor=manifest.facts["extractor"],
    )


def extractor_name(config: EvaluateConfig, dataset: Dataset) -> ExtractorName:
    """The extractor that a config names, or the one that `auto` takes for this data.

    Raises:
        ConfigError: If it is trained on labels and the data has none.
    """
    if config.extractor == ExtractorName.FD_CLASSIFIER and len(dataset.class_names) < 2:
        raise ConfigError(
            "the data has no labels to train it on",
            item="evaluate.extractor",
            stage=STAGE,
            remedy="set evaluate.extractor=fd_pixels",
        )
    if config.extractor != ExtractorName.AUTO:
        return config.extractor
    return ExtractorName.FD_CLASSIFIER if len(dataset.class_names) > 1 else ExtractorName.FD_PIXELS


def _features(config: EvaluateConfig, dataset: Dataset, context: Context, units: int) -> Manifest:
    """Train the classifier in this process, or find it sealed; its key is the data alone.

    Args:
        config: The stage's settings.
        dataset: To train on.
        context: The outside world.
        units: Units of the stage to come, for its progress.
    """
    plan = Plan(
        stage=FEATURES_STAGE,
        format_version=FEATURES_FORMAT_VERSION,
        settings={"extractor": "fd_classifier", "threads": config.threads},
        inputs={"dataset": dataset.digest},
    )

    def make(output: Output) -> Manifest:
        context.on_progress(Progress(done=0, total=units, unit="units", phase="training the classifier"))
        return _train_classifier(output, config, dataset)

    return context.sealed(plan, {}, environment("cpu"), make)[0]


def _train_classifier(output: Output, config: EvaluateConfig, dataset: Dataset) -> Manifest:
    with fixed_threads(config.threads):
        reader = DatasetReader(store=output.store, manifest=dataset.manifest(output.store))
        images, labels = (torch.from_numpy(array) for array in reader.load("train"))
        network = train_classifier(images, labels.long(), len(dataset.class_names))
        held_out, truth = (torch.from_numpy(array) for array in reader.load("test"))
        facts = {"held_out_accuracy": accuracy(network, held_out, truth.long())}
    about = {"channels": dataset.channels, "classes": len(dataset.class_names)}
    record = output.commit("units/000000", "safetensors", encode_tensors(network.state_dict(), about), facts)
    return output.seal({}, [{"unit": 0, "rows": 1, **record.as_json()}], facts)


def _units(config: EvaluateConfig, inputs: Inputs) -> list[Unit]:
    held_out, training = min(config.bpd_images, inputs.dataset.test_images), inputs.dataset.train_images
    fitted = min(config.batch_size, training) if config.bpd_timesteps else 0
    sizes: tuple[tuple[Kind, int, int], ...] = (
        ("proposal", fitted, config.batch_size),
        ("bound", held_out, config.batch_size),
        ("reference", training, _FEATURE_CHUNK),
        ("samples", inputs.samples.count, _FEATURE_CHUNK),
    )
    return [
        Unit(kind=kind, start=start, stop=min(start + step, count))
        for kind, count, step in sizes
        for start in range(0, count, step)
    ]


def _run(
    output: Output,
    config: EvaluateConfig,
    inputs: Inputs,
    features: Manifest | None,
    units: list[Unit],
    context: Context,
) -> None:
    task = EvaluateTask(
        output=output,
        config=config,
        units=units,
        features=features,
        dataset=inputs.dataset.manifest(context.store),
        trained=inputs.snapshot.manifest(context.store),
        samples=inputs.samples.manifest(context.store),
    )
    missing = [number for number in range(len(units)) if output.record(f"units/{number:06d}") is None]
    start = done = len(units) - len(missing)

    def report(phase: str = "") -> None:
        context.on_progress(Progress(done=done, total=len(units), start=start, kept=done, unit="units", phase=phase))

    def count(_: int) -> None:
        nonlocal done
        done += 1
        report()

    report(context.starting)
    workers = pool(config.workers, config.threads, config.device)
    # The estimate's units read what the proposal's has found.
    first = [number for number in missing if units[number].kind == "proposal"]
    for part in (first, [number for number in missing if number not in first]):
        context.cluster.run_units(task, part, workers=workers, stage=STAGE, on_done=count)


def _seal(output: Output, config: EvaluateConfig, inputs: Inputs, units: list[Unit]) -> Manifest:
    sealed: list[dict[str, Any]] = []
    parts = []
    for number, unit in enumerate(units):
        record = output.record(f"units/{number:06d}")
        assert record is not None, f"unit {number} was committed and has no record"
        parts.append((unit, decode_tensors(output.read(record), record.file)[0]))
        sealed.append({"unit": number, "rows": unit.stop - unit.start, **record.as_json()})
    with fixed_threads(1):
        metrics = summarise(parts, config.extractor, config.bpd_timesteps)
        made = {"metrics": metrics} | ({CURVES: summarise_curves(parts)} if has_all_terms(parts) else {})
    for number, (name, value) in enumerate(made.items(), start=len(units)):
        record = output.commit(name, "json", canonical_json(value), {"kind": name})
        sealed.append({"unit": number, "rows": 1, **record.as_json()})
    reference = {"split": "train", "images": inputs.dataset.train_images}
    facts = {
        "metrics": metrics,
        "extractor": config.extractor,
        "reference": reference,
        "settings": config.result_settings(),
    }
    return output.seal({}, sealed, facts)
