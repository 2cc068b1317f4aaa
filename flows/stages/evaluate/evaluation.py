"""Evaluate: samples and held-out images to a Fréchet distance and the bound on the negative log-likelihood.

What does not depend on each other has keys of its own: the bound, the reference's features, the samples' features, the
classifier. More samples draw and compare; they compute no bound.
"""

from ddpm_core.metrics.frechet import frechet_distance
from flows.artifacts import CURVES, Dataset, Figures, Samples, Snapshot
from flows.metrics.bound import bound_work
from flows.metrics.bound_units import BoundSettings
from flows.metrics.classifier import sealed_classifier
from flows.metrics.features import features_work, read_stats
from flows.metrics.together import seal_together
from flows.stage import Context
from flows.stages.evaluate.config import EvaluateConfig, ExtractorName
from infra.compute.device import environment, fixed_threads, pool, resolve_device
from infra.digests import Json, canonical_json
from infra.errors import ConfigError
from infra.outputs.manifest import Manifest, read_verified
from infra.outputs.plan import Output, Plan

STAGE = "evaluate"
# Of every output of this stage.
FORMAT_VERSION = 4
# The settings that the bound is a function of.
_OF_THE_BOUND = ("bpd_images", "bpd_timesteps", "batch_size", "seed", "threads")


def evaluate(
    config: EvaluateConfig, dataset: Dataset, snapshot: Snapshot, samples: Samples, context: Context
) -> Figures:
    """Compute the Fréchet distance of the samples to the training split and bits/dim on held-out images.

    The distance's features come from `fd_classifier`, trained on the data's own labels, or from `fd_pixels`; the figure
    carries the extractor's name. The bound is computed, the network in float32, over all T timesteps of the training
    chain, or estimated without bias from some of them, for both fixed variances, and the learned one if there is one,
    from the same network calls.

    Raises:
        ConfigError: If labels are asked for and the data has none.
    """
    extractor, device, threads = extractor_name(config, dataset), resolve_device(config.device), config.threads
    classifier = None
    if extractor == ExtractorName.FD_CLASSIFIER:
        classifier = sealed_classifier(dataset, threads=threads, format_version=FORMAT_VERSION, context=context)
    settings = BoundSettings(
        images=config.bpd_images,
        timesteps=config.bpd_timesteps,
        batch_size=config.batch_size,
        seed=config.seed,
        threads=threads,
        device=device,
    )
    key = {name: value for name, value in config.key_settings().items() if name in _OF_THE_BOUND}
    works = [bound_work(settings, key, dataset, snapshot, format_version=FORMAT_VERSION, store=context.store)]
    compared: list[tuple[Dataset | Samples, str, int]] = [
        (dataset, "train", dataset.train_images),
        (samples, "samples", samples.count),
    ]
    for artifact, split, count in compared:
        work = features_work(
            artifact,
            split,
            count,
            extractor.value,
            classifier,
            threads=threads,
            format_version=FORMAT_VERSION,
            store=context.store,
        )
        works.append(work)
    workers = pool(config.workers, threads, device)
    bound, reference, drawn = seal_together(works, context, stage=STAGE, workers=workers)
    settled = config.result_settings() | {"extractor": extractor.value}
    return _figures(settled, bound, reference, drawn, context)


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


def _figures(settings: Json, bound: Manifest, reference: Manifest, drawn: Manifest, context: Context) -> Figures:
    """Seal the figures of what was computed."""
    extractor = settings["extractor"]
    plan = Plan(
        stage=STAGE,
        format_version=FORMAT_VERSION,
        settings={"extractor": extractor, "outputs": [bound.key, reference.key, drawn.key]},
        inputs={"bound": bound.digest, "reference": reference.digest, "samples": drawn.digest},
    )

    def make(output: Output) -> Manifest:
        stats = read_stats(drawn, context.store), read_stats(reference, context.store)
        with fixed_threads(1):
            distance = frechet_distance(*stats)
        metrics = {f"eval/{extractor}": distance, **bound.facts["metrics"], "eval/fd_samples": float(stats[0].count)}
        made = {"metrics": canonical_json(metrics)}
        for unit in bound.units:
            if unit["facts"].get("kind") == CURVES:
                made[CURVES] = read_verified(context.store, bound.folder, unit)
        units = []
        for number, (name, data) in enumerate(made.items()):
            record = output.commit(name, "json", data, {"kind": name})
            units.append({"unit": number, "rows": 1, **record.as_json()})
        facts = {
            "metrics": metrics,
            "extractor": extractor,
            "reference": {"split": "train", "images": reference.facts["images"]},
            "settings": settings,
            "outputs": {one.stage: one.folder for one in (bound, reference)} | {"samples": drawn.folder},
        }
        return output.seal({}, units, facts)

    manifest, reused = context.sealed(plan, {}, environment("cpu"), make)
    return Figures.of(manifest, reused=reused)
