"""Sums of features: those of all images at once, under a key that runs share."""

import numpy as np
import pytest

from flows.metrics import features
from flows.metrics.features import features_work, read_stats
from flows.metrics.together import seal_together
from infra.compute.units import Workers
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def sums(run: TinyRun, threads: int = 1) -> Manifest:
    work = features_work(
        subject(run, {"threads": threads}), run.dataset, "train", run.dataset.train_images, label="reference"
    )
    return seal_together([work], run.context, stage="evaluate", workers=lambda _: Workers())[0]


@pytest.mark.parametrize("chunk", [1 << 20, 700, 64])
def test_they_are_those_of_all_images_at_once(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(features, "_CHUNK", chunk)
    monkeypatch.setattr(features, "FORMAT_VERSION", 99)  # another key, since the run has sealed them
    manifest = sums(tiny_run)
    images = DatasetReader(store=tiny_run.store, manifest=tiny_run.dataset.manifest(tiny_run.store)).load("train")[0]
    pixels = images.reshape(len(images), -1).astype(np.float64) / 255
    stats = read_stats(manifest, tiny_run.store)
    assert stats.count == len(images) == manifest.facts["images"]
    np.testing.assert_allclose(stats.total.numpy(), pixels.sum(0), rtol=1e-6)
    np.testing.assert_allclose(stats.outer.numpy(), pixels.T @ pixels, rtol=1e-6)
    assert len(manifest.units) == -(-len(images) // chunk)


def test_threads_enter_the_key_only_if_there_are_several(tiny_run: TinyRun) -> None:
    assert sums(tiny_run).plan["settings"] == {"extractor": "pixels", "split": "train"}
    assert sums(tiny_run, threads=2).plan["settings"]["threads"] == 2
