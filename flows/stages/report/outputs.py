"""The data of a finished run's report, read from its sealed outputs, and the pictures drawn from them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.artifacts import CURVES, EMA_LENGTHS, MEMORISED, Artifact
from flows.pages.pictures import sample_grid
from flows.provenance import Provenance, read_provenance
from flows.run_record import FinishedRun
from flows.stages.report.ema_lengths import lengths_plot
from flows.stages.report.nearest import NearestPairs, nearest_images, read_pairs
from flows.stages.report.neighbours import Neighbours, read_neighbours
from flows.stages.report.plots import Plot, comparison_plots, interval_plot, loss_plot, rate_plot, terms_plot
from flows.stages.report.training import Along, read_along, strip, training_plots
from infra.outputs.images import DatasetReader, Images
from infra.outputs.manifest import Manifest, read_verified
from infra.storage.store import Store

_GRID_IMAGES = 64
_NEAREST_OF = 8
_NEAREST_COLUMNS = 8


@dataclass(frozen=True, kw_only=True)
class RunOutputs:
    """All data that the page shows of a finished run, in memory.

    Attributes:
        finished: The artifacts.
        manifests: The artifacts' manifests, by their names on the page.
        drawn: The first samples, uint8 [n, channels, height, width].
        nearest: The first samples, each followed by its nearest training images, uint8 [m, columns, c, h, w].
        progress: Predicted clean images along the chain, uint8 [samples * timesteps, c, h, w].
        timesteps: The timesteps of each sample's predictions, zero-based.
        curves: The bound by timestep, see `flows.metrics.bound_curves`; None if it was estimated from some timesteps.
        lengths: The likelihoods by EMA length, see `flows.metrics.ema_lengths`; None if they were not measured.
        pairs: The samples most like training images; None if the metric that finds them was not chosen.
        provenance: That of the figures, one per metric; empty if they were sealed before that was recorded.
        neighbours: The other runs of the same data below the root; None if they were not looked for.
        along: The points of training.
    """

    finished: FinishedRun
    manifests: Mapping[str, Manifest]
    drawn: Images
    nearest: Images
    progress: Images
    timesteps: Sequence[int]
    curves: Mapping[str, Any] | None
    lengths: Mapping[str, Any] | None = None
    pairs: NearestPairs | None = None
    provenance: Sequence[Provenance] = ()
    neighbours: Neighbours | None = None
    along: Along | None = None


def read_outputs(store: Store, finished: FinishedRun, name: str = "") -> RunOutputs:
    """Read the data for the page, and verify every byte.

    Args:
        store: The store that holds the outputs.
        finished: The artifacts.
        name: The run's name, to compare it with other runs; without it no other run is read.

    Raises:
        IntegrityError: If an output is missing or differs from what was sealed; only the images along training may.
    """
    artifacts: dict[str, Artifact] = {
        "data set": finished.dataset,
        "snapshot": finished.snapshot,
        "samples": finished.samples,
        "figures": finished.figures,
    }
    manifests = {label: artifact.manifest(store) for label, artifact in artifacts.items()}
    images = DatasetReader(store=store, manifest=manifests["samples"])
    drawn, _ = images.load("samples", limit=_GRID_IMAGES)
    queries = drawn[:_NEAREST_OF]
    training = DatasetReader(store=store, manifest=manifests["data set"])
    nearest = nearest_images(queries, training, _NEAREST_COLUMNS - 1)
    progress, _ = images.load("progress")
    timesteps = images.units("progress")[0]["facts"]["timesteps"]
    pairs = _read_file(store, manifests["figures"], MEMORISED)
    return RunOutputs(
        finished=finished,
        manifests=manifests,
        drawn=drawn,
        nearest=np.concatenate((queries[:, None], nearest), axis=1),
        progress=progress[: finished.samples.count * len(timesteps)],
        timesteps=timesteps,
        curves=_read_file(store, manifests["figures"], CURVES),
        lengths=_read_file(store, manifests["figures"], EMA_LENGTHS),
        pairs=None if pairs is None else read_pairs(pairs, images, training),
        provenance=read_provenance(manifests["figures"]),
        neighbours=read_neighbours(name, store, finished) if name else None,
        along=read_along(store, manifests["snapshot"]),
    )


def _read_file(store: Store, evaluated: Manifest, kind: str) -> dict[str, Any] | None:
    """Read a result that was sealed beside the figures; None if there is none of this kind."""
    found: dict[str, Any] | None = None
    for unit in evaluated.units:
        if unit["facts"].get("kind") == kind:
            found = json.loads(read_verified(store, evaluated.folder, unit))
    return found


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """The pictures of a report.

    Attributes:
        samples: The grid of the first samples, as PNG bytes.
        nearest: The same of samples with their nearest training images.
        pairs: The samples most like training images, and below each its training image; None if there are none.
        denoising: The grid of the predictions along the chain.
        along: The grids along training; None if no point was measured.
        plots: The plots by name, in the order of the page.
        compared: Names of the plots against other runs.
    """

    samples: bytes
    nearest: bytes
    pairs: bytes | None
    denoising: bytes
    along: bytes | None
    plots: Mapping[str, Plot]
    compared: Sequence[str]


def draw(outputs: RunOutputs) -> Drawings:
    """Draw all pictures of a report."""
    compared, nearest, pairs = _compared(outputs), outputs.nearest, outputs.pairs
    return Drawings(
        samples=sample_grid(outputs.drawn),
        nearest=sample_grid(nearest.reshape(-1, *nearest.shape[2:]), nearest.shape[1]),
        pairs=None if pairs is None else _pairs_grid(pairs),
        denoising=sample_grid(outputs.progress, columns=len(outputs.timesteps)),
        along=None if outputs.along is None else strip(outputs.along),
        plots={plot.name: plot for plot in (*_own(outputs), *compared)},
        compared=[plot.name for plot in compared],
    )


def _pairs_grid(pairs: NearestPairs) -> bytes:
    return sample_grid(np.concatenate((pairs.samples, pairs.training)), len(pairs.rows))


def _own(outputs: RunOutputs) -> list[Plot]:
    trained, figures = outputs.manifests["snapshot"].facts, outputs.finished.figures
    loss = loss_label(trained["settings"]["loss"])
    plots = [interval_plot(figures), loss_plot(trained["history"], loss)]
    if outputs.along is not None:
        plots += training_plots(trained["history"], outputs.along, loss)
    if outputs.curves is not None:
        by_name = curves_by_variance(outputs)
        plots += [terms_plot(by_name), rate_plot(by_name, outputs.curves["rmse"])]
    plots += [lengths_plot(outputs.lengths)] if outputs.lengths is not None else []
    return [plot for plot in plots if plot is not None]


def _compared(outputs: RunOutputs) -> list[Plot]:
    if outputs.neighbours is None:
        return []
    return comparison_plots(outputs.neighbours, {name: part for part in outputs.provenance for name in part.figures})


def loss_label(loss: str) -> str:
    """Return the name of a training loss in words."""
    return "L_simple" if loss == "simple" else f"the {loss} loss"


def curves_by_variance(outputs: RunOutputs) -> dict[str, Mapping[str, Any]]:
    """Return the bound's curves by variance in words, in the order of the figures; the bound must have some."""
    assert outputs.curves is not None, "an estimate of the bound has no curves"
    variances = outputs.curves["variances"]
    names = outputs.finished.figures.starting_with("step_bpd_")
    return {variance_words(name): variances[name] for name in names if name in variances}


def variance_words(variance: str) -> str:
    """Return a variance's name as people write it."""
    return variance.replace("_", " ")
