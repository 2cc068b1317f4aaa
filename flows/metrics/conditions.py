"""The figures by which networks can be compared: which direction is better, and the conditions of the measurement."""

from collections.abc import Mapping

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.metrics.choices import Likelihood, MetricName
from infra.digests import Json
from infra.outputs.manifest import Manifest, read_manifest
from infra.record import ModelFigure
from infra.storage.store import Store

# The starts of figures' names. A figure with another name has no direction, and decides nothing.
_LOWER = ("bits_per_dim", "fd", "fid", "kid", "sfd", "sfid")
_HIGHER = ("coverage", "density", "inception_score", "is", "precision", "recall")
_BOUND, _LENGTH = "bits_per_dim", "ema_"
_LIKELIHOODS = (MetricName.BITS_PER_DIM, MetricName.EMA_LENGTHS)
# Settings that divide the work or choose figures, and what changes errors alone or is a count that is stated exactly.
_NO_CONDITION = ("batch_size", "bpd_images", "bpd_draws", "likelihood")
# The outputs of the evaluation that hold the features of the samples, and the statistics of those of the reference.
_FEATURES, _STATISTICS = "samples", "reference_statistics"


def model_figures(
    key: Json, figures: Figures, dataset: Dataset, snapshot: Snapshot, samples: Samples, *, store: Store
) -> list[ModelFigure]:
    """Return the headline figures with their conditions, the most important first.

    The sampler is no condition: it belongs to the run, as the network does.

    Args:
        key: The settings of the evaluation that differ from their defaults and have an effect.
        figures: The sealed figures.
        dataset: The data set.
        snapshot: The network that was measured.
        samples: The images that it drew.
        store: The store that holds all of them.
    """
    manifest = figures.manifest(store)
    counts = figures.counts
    with_label = counts.get("bpd_images", 0) - counts.get("bpd_images_without_label", 0)
    classes = bool(snapshot.manifest(store).facts["settings"]["class_conditional"]) and with_label > 0
    of_held_out = {
        "data": dataset.digest,
        "held-out images": str(figures.counts.get("bpd_images", 0)),
        "labels": "given" if classes else "not given",
    }
    of_features = (
        _conditions(key, [name for metric in MetricName if metric not in _LIKELIHOODS for name in metric.uses])
        | _reference(manifest, store)
        | {"data": dataset.digest, "extractor": figures.extractor, "samples": str(samples.count)}
    )

    def conditions(name: str) -> dict[str, str]:
        if not name.startswith((_BOUND, _LENGTH)):
            return of_features
        return of_held_out | _of_likelihood(name, key, manifest, store)

    return [_figure(figure, conditions(figure.name), figures.counts) for figure in figures.figures if figure.headline]


def _of_likelihood(name: str, key: Json, manifest: Manifest, store: Store) -> dict[str, str]:
    """Return the settings of a likelihood of this name, or of figures by EMA length, and the rules that it follows."""
    if name.startswith(_LENGTH):
        kind, metric = Likelihood.ESTIMATE, MetricName.EMA_LENGTHS
    else:
        kinds = (kind for kind in Likelihood if name.startswith(f"{_BOUND}_{kind}"))
        kind, metric = next(kinds, Likelihood.BOUND), MetricName.BITS_PER_DIM
    plan = _plan(manifest, kind, store)
    return _conditions(key, [*metric.uses, *kind.uses]) | {f"rules of the {kind}": str(plan["format_version"])}


def terms_of(figure: Figure, counts: Mapping[str, int]) -> int | None:
    """Return the number of terms that a figure's standard error rests on, as far as it is known.

    Figures that were sealed before this was recorded have no such number. The few terms of theirs follow from the name
    and from the counts; other errors rest on many images.

    Args:
        figure: The figure.
        counts: The numbers that the figures rest on, by name, as they were sealed.
    """
    if figure.standard_error is None or figure.terms is not None:
        return figure.terms
    # Not with this module: torch takes two seconds, and the command line loads the conditions.
    from ddpm_core.metrics.inception_score import SPLITS
    from ddpm_core.metrics.jackknife import GROUPS

    match figure.name.partition("_")[0]:
        case "kid":
            return counts.get("kernel_blocks")
        case "fd" | "fid" | "sfd" | "sfid":
            return GROUPS
        case "is" | "inception":
            return SPLITS
    return None


def higher_is_better(name: str) -> bool | None:
    """Tell whether a larger value of the figure of this name is better; None if neither is."""
    directions = ((start, better) for starts, better in ((_LOWER, False), (_HIGHER, True)) for start in starts)
    return next((better for start, better in directions if name == start or name.startswith(f"{start}_")), None)


def _figure(figure: Figure, conditions: Mapping[str, str], counts: Mapping[str, int]) -> ModelFigure:
    return ModelFigure(
        name=figure.name,
        value=figure.value,
        standard_error=figure.standard_error,
        terms=terms_of(figure, counts),
        error_needs=figure.error_needs,
        higher_is_better=higher_is_better(figure.name),
        conditions=dict(conditions),
    )


def _conditions(key: Json, names: list[str]) -> dict[str, str]:
    return {name: str(key[name]) for name in names if name in key and name not in _NO_CONDITION}


def _reference(manifest: Manifest, store: Store) -> dict[str, str]:
    """Return the digest of the extractor's weights, the rules of its features, and a reference from a file."""
    found: dict[str, str] = {}
    if features := _plan(manifest, _FEATURES, store):
        weights = features["inputs"]["classifier"]
        found = {"rules of features": str(features["format_version"])} | (
            {"extractor's weights": weights} if weights else {}
        )
    statistics = _plan(manifest, _STATISTICS, store)
    return found | (
        {"reference": f"file {statistics['inputs']['file']}"} if "file" in statistics.get("inputs", {}) else {}
    )


def _plan(manifest: Manifest, label: str, store: Store) -> Json:
    """Return the plan of an output that the figures rest on; nothing if there is none of this label."""
    folder = manifest.facts["outputs"].get(label)
    if folder is None:
        return {}
    return read_manifest(store, folder).plan
