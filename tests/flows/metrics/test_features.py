"""Sealed features: those of all images at once, under a key that runs share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flows.metrics import features
from flows.metrics.feature_rows import FeatureRows
from flows.metrics.features import check_count, compared_features, features_work
from flows.metrics.together import seal_together
from infra.compute.units import Workers
from infra.errors import ConfigError, InputError
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from tests.conftest import TinyRun
from tests.flows.metrics.subjects import subject


def sealed(run: TinyRun, threads: int = 1) -> Manifest:
    about = subject(run, {"threads": threads})
    assert about.reference is not None
    work = features_work(about, about.reference, label="reference")
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


def test_features_that_are_not_finite_are_refused_before_they_are_sealed(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "FORMAT_VERSION", 98)
    monkeypatch.setattr(features, "_CHUNK", 700)

    def broken(images: torch.Tensor) -> dict[str, torch.Tensor]:
        rows, spatial = torch.zeros(len(images), 2), torch.zeros(len(images), 3)
        rows[[5, 9]], spatial[7, 1] = torch.nan, torch.inf
        return {"features": rows, "spatial": spatial}

    monkeypatch.setattr(features, "open_extractor", lambda *_: broken)
    about = subject(tiny_run)
    assert about.reference is not None
    work = features_work(about, about.reference, label="reference")
    output = tiny_run.context.output(work.plan)
    output.begin({})
    run = work.task(output, "cpu").open()
    with pytest.raises(InputError, match=r"pixels gives .* not finite for the images 705, 707, 709 of train") as caught:
        run(1)
    assert (caught.value.exit_code, bool(caught.value.remedy)) == (3, True)
    assert output.record("units/000001") is None


def test_a_side_with_too_few_images_or_none_is_one_line(tiny_run: TinyRun) -> None:
    about = subject(tiny_run)
    check_count("KID", 24, [about.samples, about.reference])
    with pytest.raises(ConfigError, match="25 samples are needed for KID; there are 24") as caught:
        check_count("KID", 25, [about.reference, about.samples])
    assert (caught.value.exit_code, caught.value.item) == (2, "evaluate.metrics")
    with pytest.raises(ConfigError, match="for the gap of FLD; there are none"):
        check_count("the gap of FLD", 2, [None])


def test_statistics_in_the_place_of_reference_images_do_for_no_other_metric(tiny_run: TinyRun) -> None:
    with pytest.raises(ConfigError, match="the reference is a file of statistics, and this metric needs its images"):
        compared_features(replace(subject(tiny_run), reference=None))
