"""Scoring images against images: the figures of numpy on the pixels, whatever form the images come in."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from flows.artifacts import Dataset
from flows.metrics.choices import ExtractorName
from flows.metrics.metric import ImageSet
from flows.recipe.config import PipelineConfig
from flows.recipe.settings import load_config
from flows.run_record import FinishedRun, RunRecord
from flows.scoring.score import Scored, _sizes, collect_statistics, score
from flows.scoring.side import Side, open_side
from flows.stage import Context
from infra.digests import sha256
from infra.errors import ConfigError, DdpmError, InputError
from infra.features.statistics_file import StatisticsFile, encode_statistics
from tests.conftest import TinyRun
from tests.infra.features.programs import Moments, exported_file

COUNT = 30


def drawn(count: int, seed: int, size: tuple[int, ...] = (8, 8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200 + 20 * seed, (count, *size)).astype(np.uint8)


def saved(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{number:03}{suffix}")
    return folder


def config(*settings: str) -> tuple[PipelineConfig, frozenset[str]]:
    values = load_config("folder", None, settings, together=False)
    return values, frozenset(text.partition("=")[0] for text in settings)


@pytest.fixture
def scored(make_context: Callable[..., Context]) -> Callable[..., Scored]:
    context = make_context()
    return lambda a, b, *settings: score(str(a), str(b), *config(*settings), context)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """By the eigenvalues of the product of the covariances of all pixels in [0, 1]."""
    a, b = (side.transpose(0, 3, 1, 2).reshape(len(side), -1) / 255 for side in (a, b))
    covariances = [np.cov(side, rowvar=False) for side in (a, b)]
    root = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * root)


def test_two_folders(tmp_path: Path, scored: Callable[..., Scored]) -> None:
    sides = drawn(COUNT, 0), drawn(COUNT + 9, 1)
    found = scored(*(saved(tmp_path / name, side) for name, side in zip("ab", sides, strict=True)))
    figures = {figure.name: figure for figure in found.figures.figures}
    assert figures["fd_pixels"].value == pytest.approx(frechet(*sides), rel=1e-4)
    assert figures["fd_pixels"].note.startswith("Fréchet distance of 30 images to 39 reference images")
    assert {"kid_pixels", "precision_pixels", "recall_pixels", "density_pixels", "coverage_pixels"} <= figures.keys()
    again = scored(tmp_path / "a", tmp_path / "b")
    assert (again.figures.key, again.figures.reused) == (found.figures.key, True)


def test_splits_and_classes_of_a_side_do_not_matter(tmp_path: Path, scored: Callable[..., Scored]) -> None:
    reference, images = saved(tmp_path / "b", drawn(COUNT, 1)), drawn(COUNT, 0)
    whole = scored(saved(tmp_path / "a", images), reference, 'evaluate.metrics=["fd"]')
    saved(tmp_path / "parts" / "train" / "cat", images[:12])
    saved(tmp_path / "parts" / "test" / "dog", images[12:])
    parts = scored(tmp_path / "parts", reference, 'evaluate.metrics=["fd"]')
    assert parts.figures.figures[0].value == pytest.approx(whole.figures.figures[0].value, rel=1e-6)


def test_arrays_of_another_program(tmp_path: Path, scored: Callable[..., Scored]) -> None:
    """As ADM's evaluator takes them."""
    a, b = drawn(COUNT, 0), drawn(COUNT, 1)
    np.savez(tmp_path / "a.npz", arr_0=a)
    figures = scored(tmp_path / "a.npz", saved(tmp_path / "b", b), 'evaluate.metrics=["fd"]').figures.figures
    assert figures[0].value == pytest.approx(frechet(a, b), rel=1e-4)


def test_statistics_go_out_and_come_in_as_the_reference(
    tmp_path: Path, scored: Callable[..., Scored], make_context: Callable[..., Context]
) -> None:
    a, b = saved(tmp_path / "a", drawn(COUNT, 0)), saved(tmp_path / "b", drawn(COUNT, 1))
    data = collect_statistics(str(b), *config(), make_context())
    assert np.load(BytesIO(data))["mu"].shape == (192,)
    (tmp_path / "b.npz").write_bytes(data)
    found = scored(a, tmp_path / "b.npz")
    assert [figure.name for figure in found.figures.figures] == ["fd_pixels"]
    images = scored(a, b, 'evaluate.metrics=["fd"]').figures.figures[0].value
    assert found.figures.figures[0].value == pytest.approx(images, rel=1e-9)
    with pytest.raises(ConfigError, match="the reference is a file of statistics, and kid needs its images"):
        scored(a, tmp_path / "b.npz", 'evaluate.metrics=["kid"]')
    with pytest.raises(InputError, match="is a file of statistics"):
        scored(tmp_path / "b.npz", a)


def test_a_runs_samples_against_its_training_split_are_the_runs_own_figure(finished: TinyRun) -> None:
    record = FinishedRun(
        dataset=finished.dataset, snapshot=finished.snapshot, samples=finished.samples, figures=finished.figures
    )
    RunRecord(name="tiny-0a1b2c3d", finished=record).write(finished.store)
    found = score("tiny-0a1b2c3d", "0a1b2c3d/train", *config('evaluate.metrics=["fd"]'), finished.context)
    own = next(figure for figure in finished.figures.figures if figure.name == "fd_pixels")
    assert found.figures.figures[0].value == own.value
    held_out = open_side("0a1b2c3d/test", "x", config()[0].prepare, frozenset(), finished.context)
    assert held_out.images is not None
    assert held_out.images.count == finished.dataset.test_images


REFUSED = {
    "nothing there": (lambda place: (place / "a", place / "no"), (), "is neither a path nor a run"),
    "no network": (lambda place: (place / "a", place / "b"), ('evaluate.metrics=["bits_per_dim"]',), "run's network"),
    "no held-out images": (lambda place: (place / "a", place / "b"), ('evaluate.metrics=["fld_gap"]',), "held-out"),
    "a classifier": (lambda place: (place / "a", place / "b"), ("evaluate.extractor=classifier",), "learns from"),
    "not square": (lambda place: (place / "a", place / "wide"), (), "8x6 pixels|6x8 pixels"),
    "two sizes": (lambda place: (place / "a", place / "mixed"), (), "has 9x9 pixels, not 8x8"),
    "sizes of unlike pixels": (
        lambda place: (place / "a", place / "small"),
        (),
        "small: has images of 4x4 pixels, and the other side has 8x8 - --set prepare.image_size=N",
    ),
    "sizes that are averaged alike": (
        lambda place: (place / "16", place / "32"),
        (),
        "32: has images of 32x32 pixels, and the other side has 16x16",
    ),
    "an empty folder": (lambda place: (place / "a", place / "empty"), (), "holds no images"),
    "one image": (lambda place: (place / "a", place / "one"), (), "one: holds 1 image, and a score needs at least 2"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_scored_is_one_line(tmp_path: Path, scored: Callable[..., Scored], kind: str) -> None:
    for name, images in {
        "a": drawn(8, 0),
        "b": drawn(8, 1),
        "wide": drawn(8, 1, (6, 8, 3)),
        "one": drawn(1, 1),
        "mixed": drawn(8, 1),
        "small": drawn(8, 1, (4, 4, 3)),
        "16": drawn(8, 1, (16, 16, 3)),
        "32": drawn(8, 1, (16, 16, 3)).repeat(2, 1).repeat(2, 2),
    }.items():
        saved(tmp_path / name, images)
    saved(tmp_path / "mixed" / "more", drawn(2, 1, (9, 9, 3)))
    (tmp_path / "empty").mkdir()
    sides, settings, cause = REFUSED[kind]
    with pytest.raises(DdpmError, match=cause):
        scored(*sides(tmp_path), *settings)


@pytest.mark.parametrize(
    ("reference", "settings", "cause"),
    [
        ("b", ('evaluate.metrics=["memorised"]',), "memorised needs a run's network or its held-out images"),
        ("b", ("evaluate.extractor=inception", "evaluate.extractor_weights=none.pth"), "none.pth"),
        ("b", ("evaluate.extractor=classifier",), "learns from the labels"),
        ("b", ('evaluate.metrics=["inception_score"]',), "pixels has no classes"),
        ("of-pixels.npz", ('evaluate.metrics=["fd", "kid"]',), "a file of statistics, and kid needs its images"),
        ("of-inception.npz", (), "has statistics of the extractor inception, not pixels"),
        ("b", ("evaluate.extractor=program", "evaluate.extractor_weights=a program"), "fails on images of shape"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_any_image_is_prepared(
    tmp_path: Path,
    scored: Callable[..., Scored],
    make_context: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
    settings: tuple[str, ...],
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.scoring.side.prepare", lambda *_, **__: pytest.fail("images were prepared"))
    for name, seed in (("a", 0), ("b", 1)):
        saved(tmp_path / name, drawn(8, seed))
    moments = {"mean": torch.zeros(192, dtype=torch.float64), "covariance": torch.eye(192, dtype=torch.float64)}
    for extractor in ("pixels", "inception"):
        about = {"count": 9, "extractor": extractor, "weights": ""}
        data = encode_statistics(StatisticsFile(**moments, about=about))
        (tmp_path / f"of-{extractor}.npz").write_bytes(data)
    if "evaluate.extractor=program" in settings:
        program = exported_file(Moments(), 9)
        (tmp_path / "a program").write_bytes(program)
        settings = (*settings, f"evaluate.extractor_sha256={sha256(program)}")
    with pytest.raises(DdpmError, match=cause):
        scored(tmp_path / "a", tmp_path / reference, *settings)
    if reference == "b" and "metrics" not in settings[0]:
        with pytest.raises(DdpmError, match=cause):
            collect_statistics(str(tmp_path / "a"), *config(*settings), make_context())


def test_a_size_that_is_given_resizes_both(tmp_path: Path, scored: Callable[..., Scored]) -> None:
    a, b = saved(tmp_path / "a", drawn(8, 0, (12, 9, 3))), saved(tmp_path / "b", drawn(8, 1, (9, 9, 3)))
    found = scored(a, b, "prepare.image_size=8", 'evaluate.metrics=["fd"]')
    assert found.figures.figures[0].value > 0


def test_unlike_sizes_are_in_the_note_of_features_that_resize() -> None:
    small, large = (
        Side(images=cast("ImageSet", object()), dataset=cast("Dataset", SimpleNamespace(image_size=size)))
        for size in (16, 32)
    )
    said = "images of 16x16 and reference images of 32x32 pixels"
    assert _sizes(small, large, "x", ExtractorName.INCEPTION) == said
    assert _sizes(small, small, "x", ExtractorName.INCEPTION) == ""
    assert _sizes(small, Side(statistics="x.npz"), "x", ExtractorName.PIXELS) == ""


def test_metrics_with_too_few_images_are_left_out_unless_they_are_named(
    tmp_path: Path, scored: Callable[..., Scored]
) -> None:
    a, b = saved(tmp_path / "a", drawn(5, 0)), saved(tmp_path / "b", drawn(9, 1))
    found = scored(a, b)
    assert {"fd_pixels", "kid_pixels"} <= {figure.name for figure in found.figures.figures}
    assert (
        "precision_recall is left out: at least 6 images are needed for precision and recall; there are 5"
    ) in found.left_out
    assert not {line.partition(" ")[0] for line in found.left_out} & set(found.metrics)
    with pytest.raises(ConfigError, match="are needed for precision and recall"):
        scored(a, b, 'evaluate.metrics=["fd", "precision_recall"]')
    assert scored(b, b).left_out == ()
