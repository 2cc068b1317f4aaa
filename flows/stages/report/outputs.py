"""The data of a finished run's report, read from its sealed outputs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.artifacts import CURVES, Artifact
from flows.stages.report.nearest import nearest_images
from flows.stages.report.record import FinishedRun
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
        curves: The bound by timestep, see `flows.metrics.bound_figures`; None if it was estimated from some timesteps.
    """

    finished: FinishedRun
    manifests: Mapping[str, Manifest]
    drawn: Images
    nearest: Images
    progress: Images
    timesteps: Sequence[int]
    curves: Mapping[str, Any] | None


def read_outputs(store: Store, finished: FinishedRun) -> RunOutputs:
    """Read the data for the page, and verify every byte.

    Args:
        store: The store that holds the outputs.
        finished: The artifacts.

    Raises:
        IntegrityError: If an output is missing or differs from what was sealed.
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
    return RunOutputs(
        finished=finished,
        manifests=manifests,
        drawn=drawn,
        nearest=np.concatenate((queries[:, None], nearest), axis=1),
        progress=progress[: finished.samples.count * len(timesteps)],
        timesteps=timesteps,
        curves=_read_curves(store, manifests["figures"]),
    )


def _read_curves(store: Store, evaluated: Manifest) -> dict[str, Any] | None:
    curves: dict[str, Any] | None = None
    for unit in evaluated.units:
        if unit["facts"].get("kind") == CURVES:
            curves = json.loads(read_verified(store, evaluated.folder, unit))
    return curves
