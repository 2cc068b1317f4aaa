"""Reference statistics from a file: the same distance as from the images, and refused if they are of other features."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_core.metrics.frechet import FeatureStats
from flows.comparison.measurement import alike
from flows.comparison.reading import read_measurements
from flows.metrics.choices import ExtractorName, MetricName
from flows.metrics.conditions import model_figures
from flows.metrics.reference_file import is_reference_file, read_reference, sealed_reference, statistics_bytes
from flows.metrics.table import METRICS
from flows.metrics.together import Work
from flows.provenance import read_provenance
from flows.recipe.run import _reference_digest
from flows.stages.evaluate.evaluation import evaluate
from flows.stages.evaluate.stage import EVALUATE
from infra.errors import InputError
from infra.features.statistics_file import StatisticsFile, encode_statistics
from infra.outputs.images import DatasetReader
from infra.outputs.manifest import Manifest
from infra.storage import s3
from tests.conftest import TinyRun, revised
from tests.flows.metrics.subjects import measured, subject

FD = METRICS[MetricName.FD]


def pixels(run: TinyRun) -> np.ndarray:
    images = DatasetReader(store=run.store, manifest=run.dataset.manifest(run.store)).load("train")[0]
    return images.reshape(len(images), -1).astype(np.float32) / 255


@pytest.fixture
def foreign(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """The training split's statistics as pytorch-fid writes them, without a count."""
    rows = pixels(tiny_run)
    np.savez(tmp_path / "reference.npz", mu=rows.mean(0, dtype=np.float64), sigma=np.cov(rows, rowvar=False))
    return tmp_path / "reference.npz"


def test_the_distance_to_another_programs_statistics(tiny_run: TinyRun, foreign: Path) -> None:
    about = subject(tiny_run)
    statistics = sealed_reference(str(foreign), ExtractorName.PIXELS, None, tiny_run.context)
    to_file = measured(FD, replace(about, statistics=statistics), tiny_run.context).figures[0]
    to_images = measured(FD, about, tiny_run.context).figures[0]
    assert to_file.value == pytest.approx(to_images.value, rel=1e-6)
    assert "to statistics of an unknown number of images" in to_file.note


def test_a_run_takes_them_and_computes_no_reference(tiny_run: TinyRun, foreign: Path) -> None:
    config = revised(tiny_run.config.evaluate, {"metrics": ["fd"], "reference_statistics": str(foreign)})
    figures = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    assert "reference" not in figures.manifest(tiny_run.store).facts["outputs"]
    other = foreign.with_name("other.npz")
    with np.load(foreign) as known:
        np.savez(other, mu=known["mu"] + 1, sigma=known["sigma"])
    farther = evaluate(
        revised(config, {"reference_statistics": str(other)}),
        tiny_run.dataset,
        tiny_run.snapshot,
        tiny_run.samples,
        tiny_run.context,
    )
    assert farther.key != figures.key, "another file makes other figures"
    assert farther.figures[0].value > figures.figures[0].value + 1
    foreign.write_bytes(b"x")
    with pytest.raises(InputError, match="holds no statistics"):
        evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)


def test_only_distances_say_that_they_rest_on_statistics(tiny_run: TinyRun, foreign: Path) -> None:
    """The others compare with the images of the training split, and say so."""
    others = ["kid", "precision_recall", "density_coverage", "auth_pct", "memorised"]
    config = revised(tiny_run.config.evaluate, {"metrics": ["fd", *others], "reference_statistics": str(foreign)})
    figures = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
    of_distance, *rest = read_provenance(figures.manifest(tiny_run.store))
    assert of_distance.rules["reference"].startswith("statistics of features from a file")
    assert len(rest) == len(others)
    assert [part.rules for part in rest if "reference" in part.rules] == []
    notes = {figure.name: figure.note for figure in figures.figures if figure.headline}
    assert [name for name, note in notes.items() if "statistics of an unknown number" in note] == ["fd_pixels"]
    training = f"{tiny_run.dataset.train_images:,} training images"
    assert [name for name, note in notes.items() if training not in note] == ["fd_pixels"]


def test_ours_go_out_and_come_back(tiny_run: TinyRun, tmp_path: Path) -> None:
    works: list[Work] = []
    about = subject(tiny_run)
    first = measured(FD, about, tiny_run.context, on_works=works.extend).figures[0]
    (work,) = (one for one in works if one.label == "reference_statistics")
    sealed = tiny_run.context.output(work.plan).manifest({})
    assert isinstance(sealed, Manifest)
    file = tmp_path / "ours.npz"
    file.write_bytes(statistics_bytes(sealed, ExtractorName.PIXELS, None, "digest", tiny_run.store))
    with np.load(BytesIO(file.read_bytes())) as arrays:
        np.testing.assert_allclose(arrays["sigma"], np.cov(pixels(tiny_run), rowvar=False), rtol=1e-6, atol=1e-9)
    statistics = sealed_reference(str(file), ExtractorName.PIXELS, None, tiny_run.context)
    again = measured(FD, replace(about, statistics=statistics), tiny_run.context).figures[0]
    assert again.value == pytest.approx(first.value, rel=1e-9)
    assert f"the statistics of {tiny_run.dataset.train_images:,} images" in again.note
    assert read_reference(str(file))[0].about["images"] == "digest"
    for extractor, weights, cause in (
        (ExtractorName.CLASSIFIER, None, "of the extractor pixels, not classifier"),
        (ExtractorName.PIXELS, sealed, "with other weights"),
    ):
        with pytest.raises(InputError, match=cause):
            sealed_reference(str(file), extractor, weights, tiny_run.context)


def test_statistics_of_another_dimension_are_refused(tiny_run: TinyRun, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    statistics = sealed_reference(str(tmp_path / "other.npz"), ExtractorName.PIXELS, None, tiny_run.context)
    with pytest.raises(InputError, match="has the statistics of 3 features, and fd of pixels compares 64"):
        measured(FD, replace(subject(tiny_run), statistics=statistics), tiny_run.context)


def test_moments_give_back_the_statistics() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 4)) + 5
    stats = FeatureStats.of_moments(30, torch.from_numpy(rows.mean(0)), torch.from_numpy(np.cov(rows.T)))
    np.testing.assert_allclose(stats.covariance.numpy(), np.cov(rows.T), rtol=1e-10)
    np.testing.assert_allclose(stats.mean.numpy(), rows.mean(0), rtol=1e-14)


def test_runs_against_other_references_are_other_runs_and_unlike(tiny_run: TinyRun, foreign: Path) -> None:
    """For the run's key, for a comparison and for the gate of a champion."""
    other = foreign.with_name("farther.npz")
    with np.load(foreign) as known:
        np.savez(other, mu=known["mu"] + 1, sigma=known["sigma"])
    keys, measured_by, conditions = set(), [], []
    for file in ("", str(foreign), str(other)):
        config = revised(tiny_run.config.evaluate, {"metrics": ["fd"], "reference_statistics": file})
        keys.add(_reference_digest(tiny_run.config.model_copy(update={"evaluate": config})))
        figures = evaluate(config, tiny_run.dataset, tiny_run.snapshot, tiny_run.samples, tiny_run.context)
        parts = (tiny_run.dataset, tiny_run.snapshot, tiny_run.samples)
        measured_by.append(read_measurements(*parts, figures, store=tiny_run.store)["fd_pixels"])
        found = model_figures(config.key_settings(), figures, *parts, store=tiny_run.store)
        conditions.append(found[0].conditions)
    assert len(keys) == 3
    assert len({str(one) for one in conditions}) == 3
    first, second, third = measured_by
    assert "reference the training split against the statistics" in (alike(first, second) or "")
    assert "reference the statistics" in (alike(second, third) or "")


def test_statistics_of_another_extractor_are_refused_before_training(tiny_run: TinyRun, tmp_path: Path) -> None:
    about = {"count": 9, "extractor": "inception", "weights": "x"}
    moments = {"mean": torch.zeros(64, dtype=torch.float64), "covariance": torch.eye(64, dtype=torch.float64)}
    (tmp_path / "other.npz").write_bytes(encode_statistics(StatisticsFile(**moments, about=about)))
    given = {"metrics": ["fd"], "reference_statistics": str(tmp_path / "other.npz")}
    with pytest.raises(InputError, match="has statistics of the extractor inception, not pixels"):
        EVALUATE.check(revised(tiny_run.config.evaluate, given), tiny_run.dataset)


def test_an_archive_of_images_on_s3_is_told_apart_by_its_list_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    images, statistics = BytesIO(), BytesIO()
    np.savez(images, arr_0=np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8))
    np.savez(statistics, mu=np.zeros(3), sigma=np.eye(3))
    objects = {"images.npz": images.getvalue(), "statistics.npz": statistics.getvalue()}
    fetched: list[int] = []

    def get(_: str, key: str, *, start: int = 0, length: int | None = None, **__: object) -> bytes:
        data = objects[key][start:][:length]
        fetched.append(len(data))
        return data

    def head(_: str, key: str) -> s3.S3Object | None:
        return s3.S3Object(key, len(objects[key]), "e") if key in objects else None

    monkeypatch.setattr(s3, "get", get)
    monkeypatch.setattr(s3, "head", head)
    assert not is_reference_file("s3://bucket/images.npz")
    assert 0 < sum(fetched) < len(images.getvalue()) // 2
    assert is_reference_file("s3://bucket/statistics.npz")
    assert not is_reference_file("s3://bucket/none.npz")
