"""Sealed features: those of all images at once, under a key that runs share."""

import numpy as np
import pytest

from flows.metrics import features
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import features_work
from flows.metrics.together import seal_together
from infra.compute.units import Workers
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def sealed(run: TinyRun, threads: int = 1) -> Manifest:
    work = features_work(
        subject(run, {"threads": threads}), run.dataset, "train", run.dataset.train_images, label="reference"
    )
    return seal_together([work], run.context, stage="evaluate", workers=lambda _: Workers())[0]


@pytest.mark.parametrize("chunk", [1 << 20, 700, 64])
def test_they_are_those_of_all_images_at_once(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(features, "_CHUNK", chunk)
    monkeypatch.setattr(features, "FORMAT_VERSION", 99)  # another key, since the run has sealed them
    manifest = sealed(tiny_run)
    images = DatasetReader(store=tiny_run.store, manifest=tiny_run.dataset.manifest(tiny_run.store)).load("train")[0]
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    rows = np.concatenate([part.numpy() for part in FeatureRows(manifest=manifest, store=tiny_run.store).parts()])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, pixels, rtol=1e-6)
    assert manifest.facts["images"] == len(images)
    assert len(manifest.units) == -(-len(images) // chunk)


def test_threads_enter_the_key_only_if_there_are_several(tiny_run: TinyRun) -> None:
    assert sealed(tiny_run).plan["settings"] == {"extractor": "pixels", "split": "train"}
    assert sealed(tiny_run, threads=2).plan["settings"]["threads"] == 2
