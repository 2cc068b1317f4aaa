"""The figures of a finished run as measurements: with the conditions that its outputs were sealed under."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.comparison.measurement import Measurement
from flows.metrics.choices import Likelihood, MetricName
from flows.metrics.conditions import terms_of
from flows.metrics.features import STAGE as FEATURES_STAGE
from flows.metrics.likelihood_rows import FIGURE, TOTAL, columns
from flows.metrics.likelihood_works import REBUILT_ESTIMATE
from infra.outputs.manifest import Manifest, read_manifest
from infra.storage.store import Store

# Settings that change the rounding of sums and nothing else.
_NUMERICS = ("batch_size", "threads", "device", "workers")
# Settings of the chain: they decide which part of the bound is which term.
_CHAIN = ("num_timesteps", "schedule", "beta_start", "beta_end", "zero_terminal_snr")
# The end of the name of the error over draws of noise, and the start of that of the extractor's accuracy.
_NOISE, _ACCURACY = "_noise_stderr", "accuracy_"
_DIGITS = 8
# The start of the names of figures by EMA length; what follows it is the length, and then the name of a likelihood.
_LENGTH = "ema_"
_BEST_LENGTH = f"{_LENGTH}length_best"
# The output with the statistics of the reference, and the starts of the names of the figures that rest on it.
_STATISTICS = "reference_statistics"
_DISTANCES = ("fd_", "fid", "sfd_", "sfid")
# Settings that no figure of features depends on, or that the extractor's weights stand for.
_NOT_OF_FEATURES = frozenset(
    {
        "metrics",
        "extractor",
        "extractor_sha256",
        "seed",
        *_NUMERICS,
        *MetricName.BITS_PER_DIM.uses,
        *MetricName.EMA_LENGTHS.uses,
    }
    | {setting for likelihood in Likelihood for setting in likelihood.uses}
)


@dataclass(frozen=True, kw_only=True)
class _HeldOut:
    """A figure of held-out images: its terms per image, and the outputs that hold them."""

    per_image: NDArray[np.float64]
    outputs: Sequence[Manifest]


@dataclass(frozen=True, kw_only=True)
class _Sealed:
    """The sealed outputs of a run that decide on the conditions of its figures."""

    dataset: Dataset
    samples: Samples
    sampled: Manifest
    evaluated: Manifest
    trained: Manifest
    outputs: Mapping[str, Manifest]
    held_out: Mapping[str, _HeldOut]


def read_measurements(
    dataset: Dataset, snapshot: Snapshot, samples: Samples, figures: Figures, *, store: Store
) -> dict[str, Measurement]:
    """Return each figure of a run with its conditions, and its terms per held-out image if there are any.

    The figures of held-out images, by EMA length too, are comparable if they rest on equally many images of the same
    data, by the same estimate, with labels or without; the bound's terms also need the same chain. Figures of features
    are comparable if reference data, number of samples, extractor and the metric's own settings are equal. The rules of
    an output, its format version, must be equal too. Rules of training and of sampling are only remarks, because they
    make other networks and samples, not another measure.

    Args:
        dataset: The data set of the run.
        snapshot: Its network.
        samples: Its samples.
        figures: Its figures.
        store: The store that holds them.

    Raises:
        IntegrityError: If an output is missing or differs from what was sealed.
    """
    evaluated = figures.manifest(store)
    outputs = {label: read_manifest(store, folder) for label, folder in evaluated.facts["outputs"].items()}
    sealed = _Sealed(
        dataset=dataset,
        samples=samples,
        sampled=samples.manifest(store),
        evaluated=evaluated,
        trained=snapshot.manifest(store),
        outputs=outputs,
        held_out=_held_out(outputs, store),
    )
    return {figure.name: _measurement(figure, sealed) for figure in figures.figures}


def _held_out(outputs: Mapping[str, Manifest], store: Store) -> dict[str, _HeldOut]:
    """Return the likelihoods and their terms per held-out image, each by the figure that is its mean.

    Outputs of one stage that share a figure are draws of noise, over which each image's term is averaged. If several
    stages share one, as the bound and its estimate share L_T, the figure is that of the first stage.

    Args:
        outputs: The outputs that the figures rest on, by label.
        store: The store that holds them.
    """
    draws: dict[str, list[tuple[Manifest, NDArray[np.float64]]]] = {}
    for kind in Likelihood:
        of_stage = [(output, columns(output, store)) for output in outputs.values() if output.stage == kind]
        for name in dict.fromkeys(name for _, values in of_stage for name in values):
            if (figure := _likelihood(name)) not in draws:
                draws[figure] = [(output, values[name].numpy()) for output, values in of_stage]
    for label, output in outputs.items():
        if output.stage == REBUILT_ESTIMATE:
            length = label.removeprefix(f"{REBUILT_ESTIMATE}_")
            for name, values in columns(output, store).items():
                if name.startswith(TOTAL):
                    draws[f"{_LENGTH}{length}_{_likelihood(name)}"] = [(output, values.numpy())]
    return {
        figure: _HeldOut(
            per_image=np.mean([values for _, values in found], axis=0), outputs=[output for output, _ in found]
        )
        for figure, found in draws.items()
    }


def _likelihood(column: str) -> str:
    """Return the name of the figure that is the mean of a column."""
    return f"{FIGURE}{column.removeprefix(TOTAL)}" if column.startswith(TOTAL) else column


def _measurement(figure: Figure, sealed: _Sealed) -> Measurement:
    settings, is_of_length = sealed.trained.facts["settings"], figure.name.startswith(_LENGTH)
    held_out = sealed.held_out.get(figure.name.removesuffix(_NOISE))
    if figure.name == _BEST_LENGTH:
        held_out = next((found for name, found in sealed.held_out.items() if name.startswith(_LENGTH)), None)
    remarks = {"num_timesteps": settings.get("num_timesteps")}
    # The run's own average has no part in figures by EMA length.
    remarks |= {} if is_of_length else {"ema": settings.get("ema_halflife_images")}
    remarks["rules of train"] = sealed.trained.plan["format_version"]
    error, rows = figure.standard_error, None
    terms = terms_of(figure, sealed.evaluated.facts["counts"])
    if held_out is None:
        conditions = _of_features(figure.name, sealed)
        remarks["rules of sample"] = sealed.sampled.plan["format_version"]
    else:
        conditions = _of_held_out(figure.name, held_out, sealed)
        remarks |= {"seed": sealed.evaluated.facts["settings"].get("seed"), "draws": len(held_out.outputs)}
        # The error over noise and the best length are no means over images.
        if figure.name in sealed.held_out and len(held_out.per_image) > 1:
            rows, terms = held_out.per_image, len(held_out.per_image)
            error = float(rows.std(ddof=1)) / math.sqrt(terms)
    return Measurement(
        name=figure.name,
        value=figure.value,
        standard_error=error,
        terms=terms,
        conditions=conditions,
        remarks={name: value for name, value in remarks.items() if name not in conditions},
        per_image=rows,
        error_needs=figure.error_needs,
        label=figure.label,
    )


def _of_held_out(name: str, held_out: _HeldOut, sealed: _Sealed) -> dict[str, Any]:
    """Return the conditions of a likelihood, of one of its terms, or of the best EMA length."""
    trained, evaluated = sealed.trained.facts["settings"], sealed.evaluated.facts["settings"]
    output, without_label = held_out.outputs[0], sealed.evaluated.facts["counts"].get("bpd_images_without_label", 0)
    kind = Likelihood.ESTIMATE if output.stage == REBUILT_ESTIMATE else Likelihood(output.stage)
    conditions = {
        "data": sealed.dataset.digest,
        "images": len(held_out.per_image),
        "labels": bool(trained.get("class_conditional")) and without_label < len(held_out.per_image),
        f"rules of the {output.stage.replace('_', ' ')}": output.plan["format_version"],
        **{setting: evaluated.get(setting) for setting in kind.uses},
    }
    if name == _BEST_LENGTH:
        return conditions | {"ema_lengths": evaluated.get("ema_lengths")}
    is_whole = name.startswith((FIGURE, _LENGTH))
    return conditions if is_whole else conditions | {key: trained.get(key) for key in _CHAIN}


def _of_features(name: str, sealed: _Sealed) -> dict[str, Any]:
    """Return the conditions of a figure that compares samples with the training split, or with a file's statistics."""
    conditions: dict[str, Any] = {"data": sealed.dataset.digest}
    conditions["rules of evaluate"] = sealed.evaluated.plan["format_version"]
    if not name.startswith(_ACCURACY):
        conditions["samples"] = sealed.samples.count
    for output in sealed.outputs.values():
        if output.stage == FEATURES_STAGE:
            extractor, weights = output.plan["settings"]["extractor"], output.plan["inputs"]["classifier"]
            conditions["extractor"] = f"{extractor} {weights[:_DIGITS]}".strip()
            conditions["rules of features"] = output.plan["format_version"]
    statistics = sealed.outputs.get(_STATISTICS)
    file = statistics.plan["inputs"].get("file") if statistics else None
    if name.startswith(_DISTANCES):
        conditions["reference"] = f"the statistics {file[:_DIGITS]}" if file else "the training split"
    settings = sealed.evaluated.facts["settings"]
    return conditions | {key: value for key, value in settings.items() if key not in _NOT_OF_FEATURES}
