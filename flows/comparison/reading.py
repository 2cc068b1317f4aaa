"""The figures of a finished run as measurements: with the conditions that its outputs were sealed under."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.artifacts import Dataset, Figure, Figures, Samples, Snapshot
from flows.comparison.measurement import Measurement
from flows.metrics.choices import MetricName
from flows.metrics.likelihood_rows import FIGURE, STAGES, TOTAL, columns, per_image
from infra.outputs.manifest import Manifest, manifest_name, parse_manifest
from infra.storage.store import Store

# Settings that change the rounding of sums and nothing else.
_NUMERICS = ("batch_size", "threads", "device", "workers")
# Settings of the chain: they decide which part of the bound is which term.
_CHAIN = ("num_timesteps", "schedule", "beta_start", "beta_end", "zero_terminal_snr")
# Figures whose name in the field is not that of their metric.
_METRICS = MappingProxyType({"fid": MetricName.FD})


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
    evaluated: Manifest
    trained: Manifest
    outputs: Mapping[str, Manifest]
    held_out: Mapping[str, _HeldOut]


def read_measurements(
    dataset: Dataset, snapshot: Snapshot, samples: Samples, figures: Figures, *, store: Store
) -> dict[str, Measurement]:
    """Return each figure of a run with its conditions, and its terms per held-out image if there are any.

    The figures of held-out images are comparable if they rest on equally many images of the same data, by the same
    estimate, with labels or without; the bound's terms also need the same chain. Figures of features are comparable if
    reference data, number of samples, extractor and the metric's own settings are equal.

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
    outputs = {label: _manifest(folder, store) for label, folder in evaluated.facts["outputs"].items()}
    sealed = _Sealed(
        dataset=dataset,
        samples=samples,
        evaluated=evaluated,
        trained=snapshot.manifest(store),
        outputs=outputs,
        held_out=_held_out(evaluated, [output for output in outputs.values() if output.stage in STAGES], store),
    )
    return {figure.name: _measurement(figure, sealed) for figure in figures.figures}


def _manifest(folder: str, store: Store) -> Manifest:
    name = manifest_name(folder, {})
    return parse_manifest(store.read(name), item=name)


def _held_out(evaluated: Manifest, outputs: Sequence[Manifest], store: Store) -> dict[str, _HeldOut]:
    """Return the likelihoods and the bound's terms per held-out image, by the figure that is their mean."""
    totals, terms, holders = per_image(evaluated, store), {}, defaultdict[str, list[Manifest]](list)
    for output in outputs:
        for name, values in columns(output, store).items():
            figure = f"{FIGURE}{name.removeprefix(TOTAL)}" if name.startswith(TOTAL) else name
            holders[figure].append(output)
            # The error of the noise has a value per timestep, of which the figure is the mean.
            terms[figure] = values if values.dim() == 1 else values.double().flatten(1).mean(1)
    # A term of several outputs is no longer that of one image and one figure.
    found = {name: values for name, values in terms.items() if len(holders[name]) == 1} | totals
    return {name: _HeldOut(per_image=values.double().numpy(), outputs=holders[name]) for name, values in found.items()}


def _measurement(figure: Figure, sealed: _Sealed) -> Measurement:
    settings, held_out = sealed.trained.facts["settings"], sealed.held_out.get(figure.name)
    remarks = {"num_timesteps": settings.get("num_timesteps"), "ema": settings.get("ema_halflife_images")}
    error, terms, rows = figure.standard_error, None, None
    if held_out is None:
        conditions = _of_features(figure.name, sealed)
    else:
        rows, conditions = held_out.per_image, _of_held_out(figure.name, held_out.outputs, sealed)
        remarks["seed"] = sealed.evaluated.facts["settings"].get("seed")
        if len(rows) > 1:
            error, terms = float(rows.std(ddof=1)) / math.sqrt(len(rows)), len(rows)
    return Measurement(
        name=figure.name,
        value=figure.value,
        standard_error=error,
        terms=terms,
        conditions=conditions,
        remarks={name: value for name, value in remarks.items() if name not in conditions},
        per_image=rows,
        label=figure.label,
    )


def _of_held_out(name: str, outputs: Sequence[Manifest], sealed: _Sealed) -> dict[str, Any]:
    """Return the conditions of a likelihood, or of a term of the bound."""
    settings, output = sealed.trained.facts["settings"], outputs[0]
    about = {key: value for key, value in output.facts["settings"].items() if key not in (*_NUMERICS, "seed")}
    conditions = {
        "data": sealed.dataset.digest,
        "labels": bool(settings.get("class_conditional")),
        "estimator": output.stage,
        "rules": output.plan["format_version"],
        **about,
    }
    return conditions if name.startswith(FIGURE) else conditions | {key: settings.get(key) for key in _CHAIN}


def _of_features(name: str, sealed: _Sealed) -> dict[str, Any]:
    """Return the conditions of a figure that compares samples with the training split."""
    known = {sealed.dataset.digest, sealed.samples.digest, *(output.digest for output in sealed.outputs.values()), ""}
    conditions: dict[str, Any] = {"data": sealed.dataset.digest, "samples": sealed.samples.count}
    for label, output in sealed.outputs.items():
        if output.stage in STAGES:
            continue
        plan = output.plan
        learned = [digest for digest in plan["inputs"].values() if digest not in known]
        if "extractor" in plan["settings"]:
            conditions["extractor"] = " ".join([plan["settings"]["extractor"], *(digest[:8] for digest in learned)])
        conditions[f"rules of {label}"] = plan["format_version"]
    return conditions | _own_settings(name, sealed.evaluated.facts["settings"])


def _own_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evaluation's settings that a figure of features depends on; all of them if its metric is unknown."""
    metrics = [metric for metric in MetricName if metric != MetricName.BITS_PER_DIM]
    named = [metric for metric in metrics if name.startswith(metric)]
    own = _METRICS.get(name) or max(named, key=len, default=None)
    ours = {setting for metric in (metrics if own is None else [own]) for setting in metric.uses}
    others = {setting for metric in MetricName for setting in metric.uses} - ours
    left_out = {"metrics", "extractor", "seed", *_NUMERICS, *others}
    return {key: value for key, value in settings.items() if key not in left_out}
